"""What follows from the terms, drawn from its tables: progressive coding, shorter chains, other variances, frequencies.

Each takes the table's columns (the files of a measurement, or what wrote them) and the unit of its bound.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..tables import Columns
from .bound import LEFT, _t_axis
from .canvas import DECODER, MEAN, PRIOR, TOTAL, VARIANCE, canvas, head

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..gaussian import Unit

OWN = "#222222"
COLOURS = {"fixed_beta": DECODER, "fixed_beta_tilde": PRIOR, "optimal": TOTAL, "own": OWN}
STEEP = 10  # ratio of the largest to the smallest value from which an axis is logarithmic


def rate_distortion(columns: Columns, unit: Unit, path: Path, title: str = "") -> Path:
    """Progressive coding (DDPM's figure 5): distortion and rate as the chain is walked back, and one over the other."""
    from matplotlib.ticker import MaxNLocator

    order = np.argsort(-columns["t"])
    t, rate, distortion = (columns[name][order].astype(float) for name in ("t", "rate", "distortion"))
    se, T = columns["rate_se"][order].astype(float), int(t[0])
    walked = T - t
    # L_0 is no row: rate is what has been paid when x_1 is known
    facts = f"{rate[-1]:.4f} {unit.label} to know $x_1$, then an rms error of {distortion[-1]:.4g} is left,  T = {T:,}"
    marker = "o" if T <= 64 else ""
    with canvas(path, 11.0, 4.2) as figure:
        grid = figure.add_gridspec(2, 3, height_ratios=(0.001, 1))
        left, middle, right = (figure.add_subplot(grid[1, k]) for k in range(3))
        above = figure.add_subplot(grid[0, :])  # as wide as the words over it: the panels keep their shares
        above.set_axis_off()
        left.plot(walked, distortion, color=MEAN, marker=marker, markersize=3)
        middle.plot(walked, rate, color=TOTAL, marker=marker, markersize=3, zorder=3)
        if np.isfinite(se).any():
            middle.fill_between(walked, rate - se, rate + se, color=TOTAL, alpha=0.25, linewidth=0)
        right.plot(rate, distortion, color=VARIANCE, marker=marker, markersize=3)
        for axes in (left, middle):
            axes.set_xlabel("steps walked back, T − t")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        right.set_xlabel(f"rate ({unit.label})")
        right.xaxis.set_major_locator(MaxNLocator(4))
        right.set_xlim(left=0)
        left.set_ylabel(r"distortion, rms error of $\hat{x}_0(x_t)$")
        middle.set_ylabel(f"rate ({unit.label})")
        right.set_ylabel("distortion")
        for axes in (left, middle, right):
            axes.set_ylim(bottom=0)
        head(above, title or "Progressive coding", facts)
    return path


def chains(columns: Columns, unit: Unit, path: Path, title: str = "") -> Path:
    """The bound over the number of steps K: evenly spaced (dashed) and optimal (solid) chains, a colour a variance.

    Lines are claimed from the terms of the whole chain, points are evaluated (on the examples taken for that). Where the
    bounds differ more than STEEP times, the better half is drawn once more, on an axis of its own.
    """
    claimed, evaluated = columns[unit.key].astype(float), columns["evaluated"].astype(float)
    steep = _steep(np.concatenate([claimed, evaluated]))
    with canvas(path, 8.0, 8.0 if steep else 5.2) as figure:
        panels = figure.subplots(2 if steep else 1, 1, sharex=True, squeeze=False)[:, 0]
        for axes in panels:
            _curves(axes, columns, unit)
            axes.set_ylabel(f"bound ({unit.label})")
        if steep:
            _many_decades(panels[0], claimed)
            _near_the_best(panels[1], np.concatenate([claimed, evaluated]))
        _step_axis(panels[-1], columns["steps"])
        panels[-1].set_xlabel("steps of the chain, K")
        _chain_legend(panels[0], columns)
        head(panels[0], title or "Shorter chains", _chain_facts(columns, unit))
    return path


def _curves(axes: Axes, columns: Columns, unit: Unit) -> None:
    claimed, evaluated = columns[unit.key].astype(float), columns["evaluated"].astype(float)
    errors, steps = np.nan_to_num(columns["evaluated_se"].astype(float)), columns["steps"]
    for place, (name, colour) in enumerate(COLOURS.items()):
        for kind, dashes, fill in (("even", "--", "white"), ("optimal", "-", colour)):
            rows = np.flatnonzero((columns["variance"] == name) & (columns["chain"] == kind))
            rows = rows[np.argsort(steps[rows], kind="stable")]
            line, points = rows[np.isfinite(claimed[rows])], rows[np.isfinite(evaluated[rows])]
            axes.plot(steps[line], claimed[line], color=colour, linestyle=dashes, marker=".", markersize=4, zorder=3)
            axes.errorbar(
                steps[points] * (1 + 0.02 * (place - 1.5)),  # side by side, else one hides the other's error
                evaluated[points],
                errors[points],
                color=colour,
                linestyle="",
                marker="o",
                markersize=6,
                markerfacecolor=fill,
                capsize=3,
                zorder=4,
            )


def _chain_legend(axes: Axes, columns: Columns) -> None:
    """Colours on the left, styles on the right."""
    grey = "#666666"
    for name in COLOURS:
        if (columns["variance"] == name).any():
            axes.plot([], [], color=COLOURS[name], linewidth=3, label=name)
    axes.plot([], [], color=grey, linestyle="--", label="even chain, claimed")
    axes.plot([], [], color=grey, label="optimal chain, claimed")
    if np.isfinite(columns["evaluated"].astype(float)).any():
        points = {"color": grey, "linestyle": "", "marker": "o", "markersize": 6}
        axes.plot([], [], **points, markerfacecolor="white", label="even chain, evaluated")
        axes.plot([], [], **points, label="optimal chain, evaluated")
    axes.legend(loc="upper right", ncols=2, frameon=True, framealpha=0.85, edgecolor="none")


def _near_the_best(axes: Axes, values: np.ndarray) -> None:
    """The axis from the least value to the median."""
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(np.median(values))
    axes.set_ylim(low - 0.06 * (high - low), high)


def _chain_facts(columns: Columns, unit: Unit) -> str:
    T = int(columns["steps"].max())
    difference, se = columns["difference"].astype(float), columns["difference_se"].astype(float)
    known = np.flatnonzero(np.isfinite(difference))
    facts = [f"T = {T:,}"]
    if len(known):
        # in standard errors: bounds of few steps are hundreds of bits, and so are their differences
        far = np.abs(difference[known]) / np.maximum(se[known], 1e-6)
        worst = known[np.nan_to_num(far).argmax()]
        error = f" ± {se[worst]:.4f}" if math.isfinite(se[worst]) else ""
        facts.append(
            f"{len(known)} claims evaluated, the one farthest off by {difference[worst]:+.4f}{error} {unit.label}"
        )
    return ",  ".join(facts)


def variances(columns: Columns, unit: Unit, path: Path, title: str = "") -> Path:
    """What each reverse variance costs above the optimal one with the same mean, summed up from t = 1."""
    body = np.isin(columns["term"], ("decoder_nll", "transition_kl"))
    order = np.argsort(columns["t"][body], kind="stable")
    t = columns["t"][body][order]
    values = {
        name: columns[name][body][order].astype(float) for name in COLOURS if name in columns and name != "optimal"
    }
    optimal = columns["optimal"]
    sums = {name: np.nancumsum(each - optimal[body][order]) for name, each in values.items()}
    with canvas(path, 9.5, 4.6) as figure:
        axes = figure.subplots()
        right = max(int(t[-1]), 2) * 1.25
        for name, total in sums.items():
            if np.isnan(values[name]).all():
                continue
            axes.plot(
                np.concatenate([[LEFT], t, [right]]),
                np.concatenate([[0], total, [total[-1]]]),
                color=COLOURS[name],
                drawstyle="steps-post",  # the term of t is paid at t
                label=f"{name}  {total[-1]:+.4f}",
            )
        axes.axhline(0, color=COLOURS["optimal"], label=f"optimal  {np.nansum(optimal.astype(float)):.4f} in all")
        _t_axis(axes, "x", int(t[-1]))
        axes.set_xlim(LEFT, right)
        axes.set_xlabel("t  (1 = next to the data: $L_0$)")
        axes.set_ylabel(f"above the optimal variance,\nsum up to t ({unit.label})")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        head(axes, title or "The same mean with other variances", f"T = {int(t[-1]):,}")
    return path


def bands(columns: Columns, unit: Unit, path: Path, title: str = "") -> Path:
    """Which frequencies each step pays for: mean error of t and DCT band, and beside it each band's sum over t.

    Neighbouring t are averaged in bins of equal width on the logarithmic axis.
    """
    from matplotlib.colors import LogNorm

    names = [name for name in columns if name.startswith("band_") and not name.endswith("_se")]
    table = np.stack([columns[name].astype(float) for name in names])  # [bands, rows]
    t, count = columns["t"], len(names)
    T, start = int(t.max()), int(t[np.isfinite(table).any(0)].min(initial=int(t.max())))
    edges = np.unique(np.geomspace(start, T + 1, 72).round()).astype(int)
    cells = [_mean(table[:, (t >= a) & (t < b)]) for a, b in pairwise(edges)]
    shown = np.ma.masked_where(~(np.stack(cells, 1) > 0), np.stack(cells, 1))
    high = float(shown.max()) if shown.count() else 1.0
    least = float(shown.min()) if shown.count() else 0.1
    low = max(least, high * 1e-4)  # below it nothing is paid for: the colours are kept for the rest
    sums = np.nansum(table, 1)
    with canvas(path, 9.0, 4.6) as figure:
        axes, side = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
        axes.set_facecolor("#dddddd")
        norm = LogNorm(low, high if high > low else low * 10)
        mesh = axes.pcolormesh(edges - 0.5, np.arange(count + 1) - 0.5, shown, norm=norm, cmap="cividis")
        axes.grid(False)
        _t_axis(axes, "x", T)
        axes.set_yticks(range(count), [_band_label(k, count) for k in range(count)])
        axes.set_xlabel("t")
        axes.set_ylabel("band of 2-D DCT frequency")
        head(
            axes,
            title or "Which frequencies each step pays for",
            f"mean error {sums.sum():.4f} {unit.label} in all,  T = {T:,}",
        )
        extend = "min" if low > least else "neither"
        figure.colorbar(mesh, ax=[axes, side], label=f"{unit.label} of one step", extend=extend)
        side.barh(range(count), sums, color=MEAN, height=0.8)
        side.bar_label(side.containers[0], fmt="%.3f", padding=3, fontsize=9)
        side.grid(False, axis="y")
        side.margins(x=0.4)
        side.set_xlabel(f"sum over t ({unit.label})")
        side.tick_params(axis="y", length=0)
    return path


def _mean(values: np.ndarray) -> np.ndarray:
    """Row means of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(1) / np.where(known.any(1), known.sum(1), math.nan)


def _band_label(k: int, count: int) -> str:
    ends = {0: "0, coarse", count - 1: f"{k}, fine"}
    return ends.get(k, str(k))


def _steep(values: np.ndarray) -> bool:
    size = np.abs(values[np.isfinite(values)])
    size = size[size > 0]
    return bool(len(size) and size.max() > STEEP * size.min())


def _many_decades(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic y axis; linear between -1 and 1 where a value is not positive (the negative log of a density)."""
    from matplotlib.ticker import FuncFormatter

    values = values[np.isfinite(values)]
    if (values <= 0).any():
        axes.set_yscale("symlog", linthresh=1.0)
    else:
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    few = len(values) and np.abs(values).max() < 100 * np.abs(values).min()
    named = "235" if few else ""
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in named else ""))


def _step_axis(axes: Axes, steps: np.ndarray) -> None:
    """Logarithmic in K, a tick for each length there is."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    lengths = np.unique(steps)
    axes.xaxis.set_major_locator(FixedLocator(lengths.tolist()))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(lengths[0] / 1.15, lengths[-1] * 1.15)
