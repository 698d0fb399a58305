"""What moves which part of the bound: the shares of effects, and the differences between levels along the chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import canvas
from .comparison import COLOURS, brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..compare.effects import View

GREY = "#bbbbbb"
LINES = len(COLOURS)


def effects(views: list[View], path: Path, unit: str) -> Path | None:
    """Of the first view, and only its absolute sizes: a share of next to nothing would look like much."""
    if not views:
        return None
    view = views[0]
    with canvas(path, 11.0, 2.6 + 0.27 * len(view.parts)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        figure.suptitle(
            f"What moves which part of the bound: {view.name}", x=0.01, ha="left", fontsize=11, weight="bold"
        )
        _sizes(left, view, unit)
        _differences(right, view, unit)
        left.set_yticks(range(len(view.parts)), [part.label for part in view.parts])
        left.set_ylim(len(view.parts) - 0.5, -0.5)
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
    return path


def _sizes(axes: Axes, view: View, unit: str) -> None:
    """Bars as long as the standard deviation between cells, cut in the proportion of the sums of squares."""
    start, rows = np.zeros(len(view.parts)), np.arange(len(view.parts))
    pieces = [(m.name, m.share, colour) for m, colour in zip([m for m in view.movements if m.df], COLOURS)]
    others = [m for m in view.movements if m.df][len(COLOURS) :]
    known = [view.rest, view.shared, *(m.share for m in others)]
    for name, share, colour in [
        *pieces,
        ("rest, or not told apart", np.sum([np.nan_to_num(k) for k in known], 0), GREY),
    ]:
        length = np.nan_to_num(share) * view.spread
        if length.any():
            axes.barh(rows, length, 0.7, left=start, color=colour, label=brief(name))
        start += length
    axes.set_xlabel(f"standard deviation between cells ({'ln' if view.log else unit})")
    _legend(axes, loc="lower right")


def _differences(axes: Axes, view: View, unit: str) -> None:
    """The largest differences of marginal means, with their intervals over examples (thin) and trainings (thick, pale)."""
    known = [c for c in view.of("difference") if c.estimable]
    shown = sorted(known, key=lambda c: -abs(c.value[0]))[:LINES]
    rows = np.arange(len(view.parts))
    for i, (c, colour) in enumerate(zip(shown, COLOURS)):
        y = rows + (0.6 * (i + 0.5) / len(shown) - 0.3)
        seeds, paired = np.nan_to_num(c.seeds_half), np.nan_to_num(c.paired_half)
        axes.hlines(y, c.value - seeds, c.value + seeds, color=colour, alpha=0.3, linewidth=4)
        axes.errorbar(c.value, y, xerr=paired, fmt="o", markersize=3.5, capsize=2, color=colour, elinewidth=1,
                      label=brief(f"{c.factor}: {c.level} - {c.versus}"))  # fmt: skip
    axes.axvline(0, color="#222222", linewidth=1)
    pale = "; pale: over seeds" if np.isfinite(view.trainings).any() else ""
    axes.set_xlabel(f"difference of marginal means ({'ln' if view.log else unit}), 95%{pale}")
    if len(known) > len(shown):
        axes.set_title(f"the {len(shown)} largest of {len(known)}", fontsize=9)
    _legend(axes, loc="best", fontsize=8)


def _legend(axes: Axes, **how: Any) -> None:
    if axes.get_legend_handles_labels()[0]:  # cells that do not differ move nothing
        axes.legend(frameon=True, framealpha=0.85, edgecolor="none", **how)
