"""What the model draws: grids of images, clouds of points."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically
from .canvas import DECODER, TOTAL, canvas, head

TILE = 64  # pixels that a picture is enlarged to at least
GAP = 2


def sample_grid(images: Any, path: Path, columns: int | None = None) -> Path:
    """Images (uint8 [N, C, H, W], C = 1 or 3; tensor or array) in a grid, row by row, enlarged by whole pixels.

    columns: of the grid (None: about as many as rows). ValueError for another shape or type.
    """
    import matplotlib.image

    x = np.asarray(images)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or x.dtype != np.uint8 or not len(x):
        raise ValueError(f"a grid takes uint8 [N, 1 or 3, H, W] with N >= 1, not {x.dtype} {list(x.shape)}")
    factor = max(1, math.ceil(TILE / max(x.shape[2:])))
    x = np.repeat(x.repeat(factor, 2).repeat(factor, 3).transpose(0, 2, 3, 1), 3 // x.shape[1], axis=3)
    n, height, width = x.shape[:3]
    across = min(n, columns or math.ceil(math.sqrt(n)))
    down = math.ceil(n / across)
    grid = np.full((down * (height + GAP) + GAP, across * (width + GAP) + GAP, 3), 255, np.uint8)
    for k, image in enumerate(x):
        top, left = GAP + k // across * (height + GAP), GAP + k % across * (width + GAP)
        grid[top : top + height, left : left + width] = image
    return write_atomically(Path(path), lambda file: matplotlib.image.imsave(file, grid, format="png"), binary=True)


def scatter(points: Any, reference: Any, path: Path, title: str = "") -> Path:
    """Samples beside the data, [N, D] and [M, D]: the first two coordinates (D = 1: two histograms)."""
    x, data = (
        values[np.isfinite(values).all(1)] for values in (np.asarray(points, float), np.asarray(reference, float))
    )
    dims, lost = data.shape[1], len(points) - len(x)
    facts = f"samples that are not finite: {lost:,}" if lost else ""
    named = (("data", data, TOTAL), ("samples", x, DECODER))
    if dims == 1:
        with canvas(path, 6.4, 4.2) as figure:
            axes = figure.subplots()
            bins = list(np.histogram_bin_edges(data, 60))
            for name, values, colour in named:
                label = f"{name} ({len(values):,})"
                axes.hist(values[:, 0], bins, density=True, histtype="step", color=colour, linewidth=1.6, label=label)
            axes.set(xlabel="$x$", ylabel="density")
            axes.legend()
            head(axes, title, facts)
        return path
    low, high = np.quantile(data[:, :2], (0.001, 0.999), axis=0)  # a stray sample must not shrink the picture
    centre, reach = (low + high) / 2, 0.75 * (high - low) + 1e-6
    if dims > 2:
        facts = ", ".join(filter(None, (f"coordinates 1 and 2 of {dims}", facts)))
    with canvas(path, 9.0, 4.9) as figure:
        for axes, (name, values, colour) in zip(figure.subplots(1, 2), named, strict=True):
            axes.scatter(values[:, 0], values[:, 1], s=7, color=colour, alpha=0.5, linewidths=0)
            outside = int((np.abs(values[:, :2] - centre) > reach).any(1).sum())
            head(axes, name, f"{len(values):,} points" + (f", {outside:,} outside the frame" if outside else ""))
            axes.set_xlim(centre[0] - reach[0], centre[0] + reach[0])
            axes.set_ylim(centre[1] - reach[1], centre[1] + reach[1])
            axes.set_aspect("equal")
            axes.set_xlabel("$x_1$")
            axes.set_ylabel("$x_2$")
        if heading := ", ".join(filter(None, (title, facts))):
            figure.suptitle(heading, fontsize=11)
    return path
