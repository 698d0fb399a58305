"""Best first: each run's bound, its paired difference to the best, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bound import ledger
from ..bound.sums import PARTS
from ..tables import Columns
from ..tables import columns as make_columns
from .measurement import Measurement
from .paired import SUMS, Paired, differ, needed
from .sources import design
from .student import ALPHA, against_the_best, pairs_of
from .terms import terms


@dataclass(frozen=True)
class Settle:
    """What it takes to make a difference of the size found significant; nfe: of both runs together."""

    examples: float  # with as many draws for each as now; inf where no difference was found
    nfe: float
    split: int | None  # how many examples there are, where that is known
    draws: float  # if the split has fewer: how many times as many draws of all of it; inf: never, NaN: not known
    draws_nfe: float

    @property
    def within_split(self) -> bool | None:
        return None if self.split is None else self.examples <= self.split


@dataclass(frozen=True)
class Entry:
    """A run of the ranking; `paired` is its difference to the best (None: it is the best)."""

    run: Measurement
    paired: Paired | None
    p: float = (
        math.nan
    )  # of no difference to the best, adjusted for its choice among the runs (student.against_the_best)
    settle: Settle | None = None

    @property
    def significant(self) -> bool:
        return self.p < ALPHA


def rank(runs: Sequence[Measurement]) -> list[Entry]:
    """The lowest bound first, every other run paired with it. All bounds must be finite."""
    if not runs:
        return []
    best, *others = sorted(runs, key=lambda run: run.bound)
    pairs = []
    with ExitStack() as stack:
        reference = stack.enter_context(terms(best)) if others else None
        for run in others:
            assert reference is not None
            with terms(run) as own:
                pairs.append(differ(run, best, own, reference))
    adjusted = against_the_best([pair.sums.p[0] for pair in pairs])
    alpha = ALPHA / max(pairs_of(len(runs)), 1)  # the strictest of the levels
    entries = [Entry(best, None)]
    for run, pair, p in zip(others, pairs, adjusted):
        entries.append(Entry(run, pair, p, None if p < ALPHA or math.isnan(p) else settle(pair, alpha)))
    return entries


def settle(pair: Paired, alpha: float = ALPHA) -> Settle:
    """How many examples, network evaluations or draws would make this difference significant at the level `alpha`."""
    difference, se, n = float(pair.sums.mean[0]), float(pair.sums.se[0]), pair.n
    examples = math.inf if difference == 0 else math.ceil(needed(difference, se, n, alpha))
    each = pair.first.nfe + pair.second.nfe
    sizes = [size for size in map(split_size, (pair.first, pair.second)) if size is not None]
    split = min(sizes) if sizes else None
    draws = math.nan
    if split is not None and examples > split and not math.isnan(pair.noise):
        # at all N examples of the split: room^2 = between^2 n/N + noise^2 n/N / draws
        room = needed(difference, 1.0, n, alpha)  # n (q / d)^2: an se with needed(se) = se^2 room
        left = split - pair.between**2 * room
        draws = pair.noise**2 * room / left if left > 0 else math.inf
    return Settle(examples, examples * each, split, draws, (split or math.nan) * each * draws)


def split_size(run: Measurement) -> int | None:
    """How many examples the split has, where the run's files tell."""
    if stated := run.result.get("split_examples"):
        return int(stated)
    made = design(run.result, run.directory)
    asked = made.get("examples")
    if not made or made.get("target_se") is not None or (asked is not None and int(asked) <= len(run.index)):
        return None
    return len(run.index)


def table(entries: Sequence[Entry]) -> Columns:
    """comparison.csv: a row for each run, in the unit per dimension."""
    return make_columns([_row(entry, space_terms(entries)) for entry in entries])


def space_terms(entries: Sequence[Entry]) -> list[str]:
    """What the spaces of any of them add."""
    return list(dict.fromkeys(term for entry in entries for term in entry.run.parts))


def _row(entry: Entry, space: Sequence[str]) -> dict[str, Any]:
    run, pair, settled = entry.run, entry.paired, entry.settle
    key = run.unit.key
    row: dict[str, Any] = {"run": run.name}
    for name in (key, *PARTS, *space, "mean_error", "variance_mismatch", f"{key}_optimal_variance"):
        row[name], row[f"{name}_se"] = run.value(name), run.value(f"{name}_se")
    for name in ("bound", *PARTS, *space):
        i = pair.place(name) if pair else None
        column = "difference" if name == "bound" else f"difference_{name}"
        row[column] = float(pair.sums.mean[i]) if pair and i is not None else 0.0
        row[f"{column}_se"] = float(pair.sums.se[i]) if pair and i is not None else 0.0
        row[f"{column}_low"] = float(pair.sums.low[i]) if pair and i is not None else 0.0
        row[f"{column}_high"] = float(pair.sums.high[i]) if pair and i is not None else 0.0
    return row | {
        "p_adjusted": entry.p,
        "significant": str(entry.significant).lower(),
        "common_examples": pair.n if pair else len(run.index),
        "common_noise": str(pair.common_noise if pair else True).lower(),
        "examples_to_settle": settled.examples if settled else math.nan,
        "nfe_to_settle": settled.nfe if settled else math.nan,
        "examples": len(run.index),
        "nfe": run.value("nfe"),
        "T": run.label,
        "seed": str(run.result.get("seed", "")),
        "train_seconds": run.value("train_seconds"),
        "directory": str(run.directory),
        "measurement": run.stem.name,
    }


def term_table(entries: Sequence[Entry]) -> Columns:
    """comparison_terms.csv: each term's difference to the best, for the runs whose chain has as many steps as the best's."""
    columns: dict[str, list[np.ndarray]] = {}
    for entry in entries:
        pair = entry.paired
        if pair is None or pair.per_step is None:
            continue
        T, steps = pair.first.T, pair.per_step
        order = np.append(np.arange(1, T + 1), 0)  # t = 1..T, then L_T, as in the ledger, and what a space adds
        added, sums = slice(len(SUMS), None), pair.sums
        nothing = np.full(len(pair.space), np.nan)  # the sums over t begin after them
        rows = {
            "run": np.full(T + 1 + len(pair.space), entry.run.name),
            "t": ledger.times(T, pair.space),
            "term": ledger.terms(T, pair.space),
            "log_snr": np.concatenate([pair.first.log_snr[1:], pair.first.log_snr[-1:], nothing]),
            "log_snr_best": np.concatenate([pair.second.log_snr[1:], pair.second.log_snr[-1:], nothing]),
            "difference": np.append(steps.terms.mean[order], sums.mean[added]),
            "se": np.append(steps.terms.se[order], sums.se[added]),
            "low": np.append(steps.terms.low[order], sums.low[added]),
            "high": np.append(steps.terms.high[order], sums.high[added]),
            "evaluated": np.append(steps.evaluated[order], np.full(len(pair.space), pair.n)),
            "cumulative": np.concatenate([steps.cumulative.mean, sums.mean[:1], nothing]),
            "cumulative_se": np.concatenate([steps.cumulative.se, sums.se[:1], nothing]),
            "cumulative_low": np.concatenate([steps.cumulative.low, sums.low[:1], nothing]),
            "cumulative_high": np.concatenate([steps.cumulative.high, sums.high[:1], nothing]),
        }
        for name, values in rows.items():
            columns.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def log_snr_table(entries: Sequence[Entry]) -> Columns:
    """comparison_log_snr.csv: the difference as it adds up from L_0 (log_snr = inf) to the bound (-inf)."""
    columns: dict[str, list[np.ndarray]] = {}
    for entry in entries:
        if pair := entry.paired:
            curve = pair.over_log_snr
            rows = {
                "run": np.full(len(pair.grid), entry.run.name), "log_snr": pair.grid, "difference": curve.mean,
                "se": curve.se, "low": curve.low, "high": curve.high,
            }  # fmt: skip
            for name, values in rows.items():
                columns.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in columns.items()}
