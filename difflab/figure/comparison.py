"""Paired differences to the best run: over t, over log SNR, in total. Nothing is drawn where there is nothing to compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .bound import _t_axis
from .canvas import DECODER, MEAN, PRIOR, TOTAL, VARIANCE, canvas, head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..compare.paired import Differences, Paired
    from ..compare.ranking import Entry

COLOURS = (TOTAL, DECODER, VARIANCE, PRIOR, MEAN, "#56B4E9", "#000000", "#999999")
SHOWN = len(COLOURS)  # runs a figure can tell apart
ROWS = 30  # runs a list can hold
BAND = 0.18


def forest(entries: Sequence[Entry], path: Path) -> Path | None:
    """Each run's difference to the best with its 95% interval, best on top."""
    pairs = [(entry, entry.paired) for entry in entries if entry.paired]
    if not pairs:
        return None
    shown, best = pairs[:ROWS], pairs[0][1].second
    with canvas(path, 8.0, 1.7 + 0.32 * len(shown)) as figure:
        axes = figure.subplots()
        many = ", over all pairs of runs together (Holm)" if len(pairs) > 1 else ""
        facts = f"95% intervals, paired; filled: significant{many}{_left_out(shown, pairs)}"
        _heading(figure, f"Difference to {brief(best.name)}", facts)
        for row, (entry, pair) in enumerate(shown):
            mean, half = float(pair.sums.mean[0]), float(pair.sums.half[0])
            axes.errorbar(
                [mean], [row], xerr=[half if math.isfinite(half) else 0.0], fmt="o", markersize=7, capsize=3,
                color=TOTAL, markerfacecolor=TOTAL if entry.significant else "white",
            )  # fmt: skip
        axes.axvline(0, color="#222222", linewidth=1)
        axes.set_yticks(range(len(shown)), [brief(entry.run.name) for entry, _ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"{best.unit.label} more than the best run ({best.bound:.4f})")
    return path


def over_t(entries: Sequence[Entry], path: Path) -> Path | None:
    """Where on the chain the differences to the best lie, and how they add up from t = 1; runs with the best's T."""
    pairs = [(entry.run.name, pair, steps) for entry in entries if (pair := entry.paired) and (steps := pair.per_step)]
    if not pairs:
        return None
    shown, best = pairs[:SHOWN], pairs[0][1].second
    with canvas(path, 8.0, 7.4) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        facts = f"paired, 95% bands, T = {best.label}; the area of the upper curves is the difference"
        head(above, f"Difference to {brief(best.name)}, over t", facts + _left_out(shown, pairs))
        for (name, pair, steps), colour in zip(shown, COLOURS):
            edges = steps.edges.astype(float)
            width = np.log(edges[1:] / edges[:-1])
            _stairs(above, edges, steps.pools, width, colour)
            t = np.append(np.arange(1, best.T + 1), best.T + 1)  # the last step is L_T
            _curve(below, t, _with_prior(pair, steps.cumulative), colour, _total(name, pair))
        for axes in (above, below):
            axes.axhline(0, color="#222222", linewidth=1)
        _t_axis(below, "x", best.T)
        above.set_ylabel(f"{best.unit.label} per unit of ln t")
        below.set_ylabel(f"sum up to t ({best.unit.label})")
        below.set_xlabel("t  (1 = next to the data: $L_0$; the last step adds $L_T$)")
        below.set_xlim(1, best.T + 1)
        below.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    return path


def over_log_snr(entries: Sequence[Entry], path: Path) -> Path | None:
    """How the differences to the best add up from clean data to noise: an axis that all chains share."""
    pairs = [(entry.run.name, pair) for entry in entries if (pair := entry.paired) and len(set(pair.grid)) > 3]
    if not pairs:
        return None
    shown, best = pairs[:SHOWN], pairs[0][1].second
    with canvas(path, 8.0, 4.8) as figure:
        axes = figure.subplots()
        facts = "paired, 95% bands; begins with $L_0$, the mark at the end is the bound ($L_T$ added)"
        head(axes, f"Difference to {brief(best.name)}, over log-SNR", facts + _left_out(shown, pairs))
        low, high = math.inf, -math.inf
        for (name, pair), colour in zip(shown, COLOURS):
            level, inner = pair.grid[1:-1], slice(1, -1)
            curve = pair.over_log_snr
            axes.fill_between(level, curve.low[inner], curve.high[inner], color=colour, alpha=BAND, linewidth=0)
            axes.plot(level, curve.mean[inner], color=colour, label=_total(name, pair))
            axes.plot([level[-1]], [float(curve.mean[-1])], "D", color=colour, markersize=5, clip_on=False, zorder=4)
            low, high = min(low, level[-1]), max(high, level[0])
        axes.axhline(0, color="#222222", linewidth=1)
        axes.set_xlim(high, low)  # clean on the left, as over t
        axes.set_xlabel(r"log-SNR $\lambda$  (clean → noise)")
        axes.set_ylabel(f"sum up to $\\lambda$ ({best.unit.label})")
        axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    return path


def _heading(figure: Figure, title: str, facts: str) -> None:
    """What `head` does for axes that long names push to the right."""
    figure.suptitle(f"{title}\n{facts}", x=0.01, ha="left", fontsize=10)


def _curve(axes: Axes, x: np.ndarray, values: Differences, colour: str, label: str) -> None:
    axes.fill_between(x, values.low, values.high, color=colour, alpha=BAND, linewidth=0, step="post")
    axes.step(x, values.mean, where="post", color=colour, label=label)


def _stairs(axes: Axes, edges: np.ndarray, values: Differences, width: np.ndarray, colour: str) -> None:
    x = np.repeat(edges, 2)[1:-1]
    low, mean, high = (np.repeat(v / width, 2) for v in (values.low, values.mean, values.high))
    axes.fill_between(x, low, high, color=colour, alpha=BAND, linewidth=0)
    axes.plot(x, mean, color=colour)


def _with_prior(pair: Paired, over: Differences) -> Differences:
    """The sums over t and, last, the bound."""
    return type(over)(np.append(over.mean, pair.sums.mean[0]), np.append(over.se, pair.sums.se[0]), over.n)


def _total(name: str, pair: Paired) -> str:
    half = float(pair.sums.half[0])
    error = f" ± {half:.4f}" if math.isfinite(half) else ""
    return f"{brief(name)}: {float(pair.sums.mean[0]):+.4f}{error}"


def _left_out(shown: Sequence[object], pairs: Sequence[object]) -> str:
    return f"; the {len(shown)} nearest of {len(pairs)} runs" if len(shown) < len(pairs) else ""


def brief(name: str) -> str:
    """A label that a figure has room for; $ would begin a formula."""
    name = name if len(name) <= 48 else f"{name[:30]}…{name[-17:]}"
    return name.replace("$", r"\$")
