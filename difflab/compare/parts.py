"""The parts of a bound, example by example, on an axis that all chains share: what effects are effects on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .measurement import Measurement
from .paired import SUMS, groups, spent, up_to
from .sources import configuration
from .terms import CELLS, terms

STEP, LOWEST = 2.0, -6.0  # of the bands of log SNR, the same in every comparison: what is below costs next to nothing
SPLIT = ("mean_error", "variance_mismatch")  # known as means alone, not of each example


@dataclass(frozen=True)
class Part:
    """`name` as in the tables, `label` as people read it; a band holds the terms between two levels of log SNR."""

    name: str
    label: str
    band: bool = False


@dataclass(frozen=True)
class Parts:
    """Of each run's parts the mean, and the value of each example that all runs were measured on, in the unit per dimension."""

    parts: tuple[Part, ...]
    edges: np.ndarray  # of the bands, from +inf to -inf
    index: np.ndarray  # int64 [N]: the common examples
    means: np.ndarray  # [R, P], over the common examples (of SPLIT: over the run's own)
    each: np.ndarray  # float32 [R, N, P]: there may be many; NaN where examples are not told apart


def collect(runs: Sequence[Measurement]) -> Parts | None:
    """None if the runs have no example in common."""
    index = runs[0].index
    for run in runs[1:]:
        index = np.intersect1d(index, run.index)
    if not len(index):
        return None
    space = tuple(dict.fromkeys(term for run in runs for term in run.parts))
    edges = bands([run.log_snr for run in runs])
    split = [name for name in SPLIT if all(math.isfinite(run.value(name)) for run in runs)]
    parts = (
        *(Part(name, label) for name, label in zip(SUMS, ("bound", "L_T", "sum L_(t-1)", "L_0"))),
        *(Part(name, name.replace("_", " ")) for name in (*space, *split)),
        *(Part(name, name, band=True) for name in band_names(edges)),
    )
    each = np.full((len(runs), len(index), len(parts)), math.nan, np.float32)
    means = np.full((len(runs), len(parts)), math.nan)
    first, last = len(SUMS) + len(space), len(parts) - (len(edges) - 1)
    for r, run in enumerate(runs):
        values = _examples(run, index, space, edges)
        each[r, :, :first], each[r, :, last:] = values[:, :first], values[:, first:]
        means[r, :first], means[r, last:] = values[:, :first].mean(0), values[:, first:].mean(0)
        means[r, first:last] = [run.value(name) for name in split]
    return Parts(parts, edges, index, means, each)


def bands(chains: Sequence[np.ndarray]) -> np.ndarray:
    """Edges of bands of log SNR, every STEP from LOWEST to the cleanest level that any of the chains has, open at both ends."""
    levels = np.concatenate([chain[1:] for chain in chains])
    top = levels[np.isfinite(levels)].max(initial=LOWEST)
    inner = np.arange(LOWEST, max(top, LOWEST + STEP / 2), STEP)[::-1]
    return np.concatenate([[math.inf], inner, [-math.inf]])


def band_names(edges: np.ndarray) -> list[str]:
    def name(high: float, low: float) -> str:
        if math.isinf(high):
            return f"log SNR above {low:g}"
        return f"log SNR below {high:g}" if math.isinf(low) else f"log SNR {low:g} to {high:g}"

    return [name(high, low) for high, low in itertools.pairwise(edges)]


def band_times(log_snr: np.ndarray, edges: np.ndarray) -> list[tuple[int, int] | None]:
    """The first and the last t of a chain [T + 1] whose step has its middle in each band; None where there is none."""
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isfinite(log_snr[2:]), (log_snr[1:-1] + log_snr[2:]) / 2, log_snr[1:-1])
    found = []
    for high, low in itertools.pairwise(edges):
        t = np.flatnonzero((middle <= high) & (middle > low)) + 2
        found.append((int(t[0]), int(t[-1])) if len(t) else None)
    return found


def chains(runs: Sequence[Measurement]) -> dict[str, Measurement]:
    """A run for each of their chains, called by its schedule and T, as far as those tell them apart."""
    found: dict[bytes, Measurement] = {}
    for run in runs:
        found.setdefault(np.round(run.log_snr, 9).tobytes(), run)
    named = [(f"{_schedule(run)} T={run.label}", run) for run in found.values()]
    names = [name for name, _ in named]
    return {name if names.count(name) == 1 else f"{name} ({run.name})": run for name, run in named}


def _schedule(run: Measurement) -> str:
    node = configuration(run.directory).get("schedule")
    return str(node.get("name", "")) if isinstance(node, dict) else "schedule"


def _examples(run: Measurement, index: np.ndarray, space: Sequence[str], edges: np.ndarray) -> np.ndarray:
    """[N, SUMS + space + bands]: L_0 is in no band, and the bands add up to the transitions."""
    order = np.argsort(run.index)
    positions = order[np.searchsorted(run.index, index, sorter=order)]
    reached, share = up_to(run.log_snr, edges)
    blocks, size = [], max(1, CELLS // (run.T + 1))
    with terms(run) as own:
        for start in range(0, len(positions), size):
            here = positions[start : start + size]
            nats = own.table(here).nats
            sums = groups(nats, run.space(space, here))
            running = spent(nats, np.cumsum(nats[:, 1:], 1), reached, share)
            blocks.append(np.concatenate([sums, np.diff(running, axis=1)], 1))
    return np.concatenate(blocks) * run.scale
