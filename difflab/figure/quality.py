"""Samples beside held-out data, and quality beside bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..quality.record import MANIFOLD
from .canvas import DECODER, TOTAL, canvas
from .comparison import COLOURS, SHOWN, brief

if TYPE_CHECKING:
    from ..compare.quality import Point

INTERVAL = 1.96  # standard errors, 95%


def measures(record: Mapping[str, Any], path: Path, title: str = "") -> Path:
    """The distance, and the four measures of manifolds, of samples and of held-out examples in their place."""
    sides = (("samples", record, DECODER, "o"), ("held-out examples", record["held_out"], TOTAL, "s"))
    key = record["key"]
    with canvas(path, 9.0, 3.6) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 2))
        for number, (name, side, colour, marker) in enumerate(sides):
            shift = (number - 0.5) * 0.16
            style: dict[str, Any] = {"fmt": marker, "color": colour, "capsize": 3, "markersize": 6}
            values = [side[key], side[f"{key}_corrected"]]
            error = INTERVAL * side[f"{key}_se"]
            left.errorbar([0 + shift, 1 + shift], values, yerr=[error, error], **style)
            places = [place + shift for place in range(len(MANIFOLD))]
            values = [side[name] for name in MANIFOLD]
            errors = [INTERVAL * side[f"{name}_se"] for name in MANIFOLD]
            right.errorbar(places, values, yerr=errors, label=f"{side['examples']:,} {name}", **style)
        left.set_xticks([0, 1], ["as measured", "bias removed"])
        left.set_xlim(-0.5, 1.5)
        left.axhline(0, color="#222222", linewidth=1)
        left.set_ylabel(key.replace("_", " "))
        right.set_xticks(range(len(MANIFOLD)), MANIFOLD)
        right.set_ylim(bottom=0)
        right.axhline(1, color="#222222", linewidth=1)
        right.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        facts = f"{record['sampler']}, {record['steps']:,} steps; against {record['reference']:,} {record['split']} examples; 95% intervals"
        figure.suptitle(f"{title}\n{facts}".strip(), x=0.01, ha="left", fontsize=10)
    return path


def tradeoff(points: Sequence[Point], path: Path) -> Path | None:
    """Bits on one axis and the distance on the other, then precision and recall: a point for each run; None for fewer than two."""
    if len(points) < 2:
        return None
    shown, record, unit = points[:SHOWN], points[0].record, points[0].run.unit
    key, held = record["key"], record["held_out"]
    many = f"; the {SHOWN} nearest to the data of {len(points)} runs have a colour" if len(points) > SHOWN else ""
    with canvas(path, 9.6, 4.4 + 0.22 * len(shown)) as figure:
        left, right = figure.subplots(1, 2)
        for number, point in reversed([*enumerate(points)]):
            colour, name = (COLOURS[number], brief(point.run.name)) if number < SHOWN else ("#bbbbbb", None)
            style: dict[str, Any] = {"fmt": "o", "color": colour, "capsize": 3, "markersize": 6, "label": name}
            bits = INTERVAL * point.run.value(f"{unit.key}_se")
            left.errorbar([point.run.bound], [point.distance], xerr=[bits], yerr=[INTERVAL * point.error], **style)
            x, y = (INTERVAL * point.record[f"{name}_se"] for name in ("recall", "precision"))
            right.errorbar([point.record["recall"]], [point.record["precision"]], xerr=[x], yerr=[y], **style)
        middle, half = held[f"{key}_corrected"], INTERVAL * held[f"{key}_se"]
        left.axhspan(middle - half, middle + half, color="#888888", alpha=0.15, linewidth=0)
        left.axhline(middle, color="#888888", linewidth=1, linestyle="--")
        x, y = (INTERVAL * held[f"{name}_se"] for name in ("recall", "precision"))
        right.errorbar(
            [held["recall"]], [held["precision"]], xerr=[x], yerr=[y], fmt="s", color="#888888", capsize=3,
            label=f"{held['examples']:,} held-out examples (left: the band)",
        )  # fmt: skip
        left.set(xlabel=f"bound ({unit.label})", ylabel=f"{key.replace('_', ' ')}, bias removed")
        right.set(xlabel="recall", ylabel="precision")
        handles, names = right.get_legend_handles_labels()
        figure.legend(handles[::-1], names[::-1], loc="outside lower left", ncols=1 if len(shown) < 5 else 2)
        facts = f"{record['samples']:,} samples by {record['sampler']} against {record['reference']:,} {record['split']} examples, 95% intervals{many}"
        figure.suptitle(f"Bits against quality\n{facts}", x=0.01, ha="left", fontsize=10)
    return path
