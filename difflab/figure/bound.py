"""The bound, drawn: over t, over log-SNR, over t and training time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import DECODER, MEAN, PRIOR, TOTAL, VARIANCE, canvas, head
from .pooling import ENOUGH, Pooled, log_edges, term, transitions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..bound.ledger import Ledger

FEW = 64  # points that are worth a marker each
LEFT = 0.85  # of the t axis


def per_timestep(ledger: Ledger, path: Path, title: str = "") -> Path:
    """L_{t-1} for each t with its standard error and its two parts; below it the bound as it adds up from t = 1.

    title: the run in words (schedule, parameterization, variance); N and the total are added.
    """
    pooled = transitions(ledger)
    with canvas(path, 8.0, 7.6) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.25, 1))
        head(above, title or "The bound, term by term", _facts(ledger, pooled))
        _terms(above, ledger, pooled)
        _accumulated(below, ledger, pooled)
        _t_axis(below, "x", _length(ledger))
        below.set_xlim(LEFT, _right(ledger))
        below.set_xlabel("t  (1 = next to the data, T = noise)")
    return path


def _terms(axes: Axes, ledger: Ledger, pooled: Pooled) -> None:
    unit = ledger.unit.label
    marker = "o" if len(pooled.t) <= FEW else ""
    per_step = {
        name: getattr(pooled, name) / pooled.size for name in ("value", "se", "mean_error", "variance_mismatch")
    }
    ends = [("$L_0$", "decoder_nll", 1, DECODER, "o"), ("$L_T$", "prior_kl", _length(ledger), PRIOR, "D")]
    heights = [term(ledger, name)[0] for _, name, *_ in ends]
    low, high = _log_limits(per_step["value"], heights)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    if len(pooled.t):
        band = np.clip([per_step["value"] - per_step["se"], per_step["value"] + per_step["se"]], low / 10, None)
        axes.fill_between(pooled.t, *band, color=TOTAL, alpha=0.25, linewidth=0, label="± standard error")
        axes.plot(pooled.t, per_step["value"], color=TOTAL, marker=marker, markersize=3, label=r"$L_{t-1}$", zorder=3)
        for name, colour, dashes in (("mean_error", MEAN, "--"), ("variance_mismatch", VARIANCE, ":")):
            label = name.replace("_", " ")
            if (per_step[name] > 0).any():
                positive = np.where(per_step[name] > 0, per_step[name], math.nan)
                axes.plot(
                    pooled.t,
                    positive,
                    color=colour,
                    linestyle=dashes,
                    marker=marker,
                    markersize=3,
                    label=label,
                    zorder=4,
                )
            else:
                axes.plot([], [], color=colour, linestyle=dashes, label=f"{label}: 0")
    for (symbol, name, t, colour, shape), value in zip(ends, heights, strict=True):
        se = term(ledger, name)[1]
        label = f"{symbol} = {_number(value, se)}"
        if value > low:
            axes.errorbar(
                [t],
                [value],
                [se if math.isfinite(se) else 0],
                color=colour,
                marker=shape,
                markersize=7,
                linestyle="",
                label=label,
                zorder=5,
            )
        else:  # below the axis: 0, tiny, or the negative log of a density above 1
            axes.plot(
                [t],
                [low * 1.15],
                color=colour,
                marker="v",
                markersize=8,
                linestyle="",
                label=f"{label}, below",
                zorder=5,
                clip_on=False,
            )
    axes.set_ylabel(f"{unit} of one step")
    axes.legend(loc="upper center", ncols=2)  # the right end is where eps with a cosine schedule spikes


def _accumulated(axes: Axes, ledger: Ledger, pooled: Pooled) -> None:
    """Filled from below: L_0, the two parts of the transitions up to t, and L_T as the last step."""
    total, se = ledger.totals.get(ledger.unit.key, _sum(ledger)), ledger.totals.get(f"{ledger.unit.key}_se", math.nan)
    decoder, T = term(ledger, "decoder_nll")[0], _length(ledger)
    prior, _ = term(ledger, "prior_kl")
    t = np.concatenate([[LEFT, 1.0], pooled.last, [_right(ledger)]])

    def running(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0, 0.0], np.cumsum(values)])
        return np.append(sums, sums[-1])

    mean, both = decoder + running(pooled.mean_error), decoder + running(pooled.value)
    axes.fill_between(t, 0, decoder, color=DECODER, alpha=0.35, linewidth=0, label=f"$L_0$  {decoder:.4f}")
    axes.fill_between(
        t, decoder, mean, color=MEAN, alpha=0.45, linewidth=0, label=f"mean error  {mean[-1] - decoder:.4f}"
    )
    axes.fill_between(
        t, mean, both, color=VARIANCE, alpha=0.5, linewidth=0, label=f"variance mismatch  {both[-1] - mean[-1]:.4f}"
    )
    axes.plot(t, both, color=TOTAL)
    top = both[-1] + prior
    axes.plot([T, T], [both[-1], top], color=PRIOR, linewidth=2.5, label=f"$L_T$  {_number(prior, math.nan)}")
    if abs(other := _sum(ledger) - top) > 1e-6:  # the set of terms is open
        axes.plot([T, T], [top, top + other], color="#666666", linewidth=2.5, label=f"other terms  {other:.4f}")
    axes.axhline(total, color="#222222", linewidth=0.9, linestyle=(0, (5, 3)))
    if math.isfinite(se):
        axes.axhspan(total - se, total + se, color="#222222", alpha=0.12, linewidth=0)
    axes.text(LEFT * 1.05, total, f"total {_number(total, se)}", ha="left", va="bottom", fontsize=9)
    low, high = min(0.0, decoder, total), max(total, float(both.max()), 0.0)
    axes.set_ylim(low * 1.1, high * 1.14 or 1.0)
    axes.set_ylabel(f"sum up to t ({ledger.unit.label})")
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")


def per_log_snr(ledger: Ledger, path: Path, title: str = "") -> Path:
    """L_{t-1} per unit of log-SNR: the area is the bound's transition part, on an axis that all schedules share."""
    pooled = transitions(ledger)
    finite = np.isfinite(pooled.width) & (pooled.width > 0)
    with canvas(path, 8.0, 4.6) as figure:
        axes = figure.subplots()
        head(axes, title or "The bound per log-SNR", _facts(ledger, pooled))
        if finite.any():
            edges = np.append(pooled.log_snr_s[finite], pooled.log_snr_t[finite][-1])
            x = np.repeat(edges, 2)[1:-1]

            def steps(values: np.ndarray) -> np.ndarray:
                return np.repeat((values / pooled.width)[finite], 2)

            mean, both, se = steps(pooled.mean_error), steps(pooled.value), steps(pooled.se)
            axes.fill_between(x, 0, mean, color=MEAN, alpha=0.45, linewidth=0, label="mean error")
            axes.fill_between(x, mean, both, color=VARIANCE, alpha=0.5, linewidth=0, label="variance mismatch")
            axes.fill_between(
                x, np.maximum(both - se, 0), both + se, color=TOTAL, alpha=0.3, linewidth=0, label="± standard error"
            )
            axes.plot(x, both, color=TOTAL, label="$L_{t-1}\\,/\\,(\\lambda_{t-1}-\\lambda_t)$")
            axes.set_xlim(edges[0], edges[-1])  # clean on the left, as over t
            axes.set_ylim(bottom=0)
        if not finite.all():  # to zero signal: a jump of infinite length has no density
            axes.plot(
                [], [], linestyle="", label=f"not shown: {pooled.value[~finite].sum():.4f} in the jump to SNR = 0"
            )
        for name, symbol in (("decoder_nll", "$L_0$"), ("prior_kl", "$L_T$")):
            axes.plot([], [], linestyle="", label=f"outside the area: {symbol} = {_number(*term(ledger, name))}")
        axes.set_xlabel(r"log-SNR $\lambda$  (clean → noise)")
        axes.set_ylabel(f"{ledger.unit.label} per unit of log-SNR")
        axes.legend(loc="best")
    return path


def heatmap(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "", unit: str = "") -> Path:
    """The contribution of each t over training.

    rows: one a validation, {"step": int, "values": the ledger's column: t = 1, 2..T, then L_T (not drawn)}.
    Neighbouring t are averaged in bins of equal width on the logarithmic axis; rows of another T than the last row's
    are left out.
    """
    from matplotlib.colors import LogNorm

    length = len(rows[-1]["values"])
    kept = {
        int(row["step"]): np.asarray(row["values"][:-1], dtype=float) for row in rows if len(row["values"]) == length
    }
    steps, T = np.array(sorted(kept)), length - 1
    edges = log_edges(T)
    means = np.array([[kept[step][a - 1 : b - 1].mean() for step in steps] for a, b in pairwise(edges)])
    shown = np.ma.masked_where(~(means > 0), means)  # the log of a density may be negative at t = 1
    high = float(shown.max()) if shown.count() else 1.0
    low = max(float(shown.min()), high * 1e-6) if shown.count() else 0.1
    with canvas(path, 8.0, 4.8) as figure:
        axes = figure.subplots()
        axes.set_facecolor("#dddddd")
        norm = LogNorm(low, high if high > low else low * 10)
        sides = np.concatenate([[min(0, steps[0] - 1)], steps])
        mesh = axes.pcolormesh(sides, edges - 0.5 * (edges > 1) - 0.3 * (edges == 1), shown, norm=norm, cmap="cividis")
        axes.grid(False)
        _t_axis(axes, "y", T)
        axes.set_xlabel("training step  (a cell ends at its validation)")
        axes.set_ylabel("t  (bottom row: $L_0$)")
        head(axes, title or "The bound over training", f"validations: {len(steps)},  T = {T:,}")
        figure.colorbar(mesh, ax=axes, label=f"{unit or 'contribution'} of one step")
    return path


def _t_axis(axes: Axes, name: str, T: int) -> None:
    """Logarithmic, with plain numbers; every t of a short chain."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(list(range(1, T + 1))) if T <= 12 else LogLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())
    if T <= 12:
        axis.set_minor_locator(NullLocator())


def _facts(ledger: Ledger, pooled: Pooled) -> str:
    unit, totals = ledger.unit, ledger.totals
    facts = [f"{_number(totals.get(unit.key, _sum(ledger)), totals.get(unit.key + '_se', math.nan))} {unit.label}"]
    if "examples" in totals:
        facts.append(f"N = {int(totals['examples']):,}")
    length = _length(ledger)
    continuous = totals.get("T", length) != length  # inf
    facts.append(f"T = {totals['T']} in {length:,} pieces" if continuous else f"T = {length:,}")
    if pooled.largest > 1:
        facts.append(f"neighbouring t pooled to at least {ENOUGH} draws (up to {pooled.largest} t)")
    return ",  ".join(facts)


def _sum(ledger: Ledger) -> float:
    return float(np.nansum(ledger.columns[ledger.unit.key]))


def _length(ledger: Ledger) -> int:
    return int(ledger.columns["t"].max())


def _right(ledger: Ledger) -> float:
    """End of the t axis."""
    return max(_length(ledger), 2) * 1.25


def _number(value: float, se: float) -> str:
    text = f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"
    if not math.isfinite(se):
        return text
    return f"{text} ± {se:.4f}" if se == 0 or se >= 1e-3 else f"{text} ± {se:.0e}"


def _log_limits(values: np.ndarray, ends: Sequence[float]) -> tuple[float, float]:
    """Room for L_{t-1} and its larger part, and for L_0 and L_T where they are not vanishingly small beside it."""
    positive = np.concatenate([values, ends])
    positive = positive[np.isfinite(positive) & (positive > 0)]
    if not len(positive):
        return 0.1, 10.0
    body = values[np.isfinite(values) & (values > 0)]
    high = float(positive.max())
    floor = float(body.min()) / 30 if len(body) else high / 1e3
    low = max(
        min(float(positive[positive > floor].min()) / 3, float(body.min()) / 6 if len(body) else high), high * 1e-12
    )
    return low, high * 12  # the legend stands above the curves
