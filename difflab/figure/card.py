"""Pictures of a data set's card: what its splits look like beside each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .canvas import DECODER, TOTAL, VARIANCE, canvas, head
from .sample import sample_grid

if TYPE_CHECKING:
    from ..card.collect import Material

COLOURS = {"train": TOTAL, "val": VARIANCE, "test": DECODER}
EXAMPLES = 64
POINTS = 2000  # of a cloud


def draw_all(material: Material, directory: Path) -> dict[str, Path]:
    """{name: path} of those that the data has something for."""
    paths = {name: draw(material, directory / f"card_{name}.png") for name, draw in DRAWN.items()}
    return {name: path for name, path in paths.items() if path}


def examples(material: Material, path: Path) -> Path | None:
    """Pictures in a grid; vectors as a cloud."""
    data = material.data
    first = torch.arange(min(EXAMPLES, len(data.train)))
    if len(data.shape) == 3:
        return sample_grid(_pixels(material, data.train.x[first]), path, columns=16)
    if data.dims < 2:
        return None
    with canvas(path, 9.6, 3.6) as figure:
        for axes, split in zip(figure.subplots(1, 3, sharex=True, sharey=True), (data.train, data.val, data.test)):
            x = split.x[torch.arange(min(POINTS, len(split)))].numpy()
            axes.scatter(x[:, 0], x[:, 1], s=5, color=COLOURS[split.name], alpha=0.5, linewidths=0)
            of = f", coordinates 1 and 2 of {data.dims}" if data.dims > 2 else ""
            head(axes, split.name, f"{len(x):,} points{of}")
            axes.set_aspect("equal", adjustable="box")
    return path


def pairs(material: Material, path: Path) -> Path | None:
    """Held-out and training pictures side by side, nearest first, each pair with its distance."""
    data = material.data
    if len(data.shape) != 3 or not material.pairs:
        return None
    splits = {"train": data.train, "val": data.val, "test": data.test}
    across = 6
    down = -(-len(material.pairs) // across)
    near = material.card["search"]["near"]
    with canvas(path, 9.6, 0.4 + 1.05 * down) as figure:
        grid: Any = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, (name, i, j, distance) in zip(grid.flat, material.pairs):
            held, train = (splits[k].x[torch.tensor([at])] for k, at in ((name, i), ("train", j)))
            gap = np.full((data.shape[1], max(1, data.shape[2] // 14), 3), 255, np.uint8)
            axes.imshow(np.concatenate([_rgb(material, held), gap, _rgb(material, train)], 1), interpolation="nearest")
            kind = "exact" if distance == 0 else "near" if distance <= near else ""
            axes.set_title(f"{name} {distance:.3g} {kind}".strip(), fontsize=8, fontweight="bold" if kind else "normal")
        figure.suptitle(
            f"nearest pairs, held-out left and training right; root mean square difference, {material.card['unit']}",
            x=0.01, ha="left", fontsize=10,
        )  # fmt: skip
    return path


def moments(material: Material, path: Path) -> Path | None:
    """Maps of pictures (colours averaged), curves over the coordinates of vectors."""
    if len(material.data.shape) != 3:
        return _curves(material, path)
    maps = {key: (got.mean.mean(0).numpy(), got.std.mean(0).numpy()) for key, got in material.moments.items()}
    shift = {key: mean - maps["train"][0] for key, (mean, _) in maps.items()}
    extent = max(float(np.abs(values).max()) for values in shift.values()) or 1.0
    widest = max(float(std.max()) for _, std in maps.values()) or 1.0
    with canvas(path, 8.4, 7.2) as figure:
        grid: Any = figure.subplots(3, 3)
        for row, (key, (mean, std)) in zip(grid, maps.items()):
            shown = (
                (mean, "mean", "gray", -1, 1),
                (std, "standard deviation", "viridis", 0, widest),
                (shift[key], "mean - train's", "RdBu_r", -extent, extent),
            )
            for axes, (values, what, colours, low, high) in zip(row, shown):
                image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_title(f"{key}: {what}", fontsize=9)
                figure.colorbar(image, ax=axes, shrink=0.8)
    return path


def _curves(material: Material, path: Path) -> Path:
    from matplotlib.ticker import MaxNLocator

    with canvas(path, 8.0, 4.0) as figure:
        left, right = figure.subplots(1, 2)
        for key, got in material.moments.items():
            mean, std = got.mean.flatten().numpy(), got.std.flatten().numpy()
            at = np.arange(1, len(mean) + 1)
            error = 1.96 * std / got.examples**0.5
            left.errorbar(at, mean, error, fmt="o", markersize=4, capsize=3, color=COLOURS[key], label=key)
            right.plot(at, std, "o", markersize=4, color=COLOURS[key], label=key)
        left.set(xlabel="coordinate", ylabel="mean, with its 95% interval")
        right.set(xlabel="coordinate", ylabel="standard deviation")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.legend()
    return path


def levels(material: Material, path: Path) -> Path | None:
    """Histogram of grey levels."""
    shares = {
        k: got.levels.double() / got.levels.sum() for k, got in material.moments.items() if got.levels is not None
    }
    if not shares:
        return None
    with canvas(path, 8.0, 3.8) as figure:
        axes = figure.subplots()
        for key, share in shares.items():
            share = share.numpy()
            axes.stairs(
                np.where(share > 0, share, np.nan),
                np.arange(len(share) + 1) - 0.5,
                color=COLOURS[key],
                label=key,
                baseline=None,
            )
        axes.set(xlabel="grey level", ylabel="share of all values", yscale="log")
        axes.legend()
    return path


def power(material: Material, path: Path) -> Path | None:
    """Power over frequency, and each split over the training split."""
    spectrum = material.card["spectrum"]
    if "power" not in spectrum:
        return None
    x = np.array(spectrum["cycles_per_pixel"])
    label = "cycles per pixel  (0 = the mean of the picture)"
    return _ratio(path, x, {k: np.array(v) for k, v in spectrum["power"].items()}, label, "power", "o-")


def principal(material: Material, path: Path) -> Path | None:
    """Variance along the training set's principal directions."""
    if not material.along:
        return None
    x = np.arange(1, material.data.dims + 1)
    return _ratio(
        path,
        x,
        {k: v.numpy() for k, v in material.along.items()},
        "principal direction of the training split",
        "variance",
        "-",
    )


def _ratio(path: Path, x: np.ndarray, curves: dict[str, np.ndarray], label: str, what: str, mark: str) -> Path:
    base = curves["train"]
    floor = max(float(base.max()) * 1e-8, 1e-300)  # below, rounding and constant values
    with canvas(path, 8.0, 5.6) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for key, values in curves.items():
            kept = (values > floor) & (base > floor)
            if kept.any():
                above.plot(x[kept], values[kept], mark, markersize=3, color=COLOURS[key], label=key)
                below.plot(x[kept], values[kept] / base[kept], mark, markersize=3, color=COLOURS[key])
        above.set(ylabel=what, yscale="log" if bool((base > floor).any()) else "linear")
        below.set(xlabel=label, ylabel="over train's")
        low, high = below.get_ylim()
        below.set_ylim(max(low, 0.0), min(high, 2.0))  # directions that hardly vary in training would hide the others
        if above.lines:
            above.legend()
    return path


def coverage(material: Material, path: Path) -> Path | None:
    """Distribution functions of distances to the nearest training example."""
    if not material.distances:
        return None
    with canvas(path, 8.0, 4.2) as figure:
        axes = figure.subplots()
        for key, values in material.distances.items():
            x = np.sort(values)
            name = "train, taken out" if key == "train" else key
            axes.step(
                x, np.arange(1, len(x) + 1) / len(x), where="post", color=COLOURS[key], label=f"{name} ({len(x):,})"
            )
        axes.axvline(float(np.median(material.distances["train"])), color="#222222", linewidth=0.8)
        axes.set(
            xlabel=f"distance to the nearest training example, {material.card['unit']}", ylabel="share of examples"
        )
        axes.legend(loc="lower right")
    return path


def classes(material: Material, path: Path) -> Path | None:
    """Shares of the classes, split by split."""
    number = material.card["classes"]
    if number < 2:
        return None
    from matplotlib.ticker import MaxNLocator

    with canvas(path, 8.0, 3.6) as figure:
        axes = figure.subplots()
        for k, (key, split) in enumerate(material.card["splits"].items()):
            share = np.array(split["classes"]) / sum(split["classes"])
            axes.bar(np.arange(number) + 0.27 * (k - 1), share, 0.25, color=COLOURS[key], label=key)
        axes.set(xlabel="class", ylabel="share of the split")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return path


def _pixels(material: Material, x: torch.Tensor) -> torch.Tensor:
    return material.data.to_pixels(material.data.to_unit(x))


def _rgb(material: Material, x: torch.Tensor) -> np.ndarray:
    """uint8 [H, W, 3] of one picture [1, C, H, W]."""
    picture = _pixels(material, x)[0].permute(1, 2, 0).numpy()
    return np.repeat(picture, 3 // picture.shape[2], axis=2)


DRAWN: dict[str, Callable[[Material, Path], Path | None]] = {
    "examples": examples, "pairs": pairs, "moments": moments, "levels": levels, "power": power, "principal": principal,
    "coverage": coverage, "classes": classes,
}  # fmt: skip
