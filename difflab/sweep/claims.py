"""Which published claims the runs of a sweep bear out, and in which terms of the bound the difference lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compare.seeds import versus
from ..compare.student import quantile
from .answers import BANDS, Answers, varying
from .question import Cell

HEAD = (
    "claim",
    "where",
    "verdict",
    "worse - better",
    "between seeds",
    "on these examples",
    "where the difference lies",
)
NAMES = 3


@dataclass(frozen=True)
class Verdict:
    """worse - better, with its 95% halves between seeds and on these examples (NaN: unknown), and what follows."""

    difference: float
    between: float
    evaluation: float
    seeds: tuple[int, int]
    paired: bool = True  # over examples

    @property
    def word(self) -> str:
        if not math.isfinite(self.difference):
            return "no verdict: a bound is not finite"
        known = [half for half in (self.between, self.evaluation) if not math.isnan(half)]
        if not known or abs(self.difference) <= max(known):
            return "undecided"
        return "borne out" if self.difference > 0 else "contradicted"


def compared(worse: Cell, better: Cell, answers: Answers) -> Verdict | None:
    """None if either has no finished run."""
    sides = [np.array([answer.value("bpd") for answer in answers.of(cell)]) for cell in (worse, better)]
    if not all(len(side) for side in sides):
        return None
    means, errors = [side[:, 0].mean() for side in sides], [side[:, 1].mean() for side in sides]
    groups = [answers.group(cell) for cell in (worse, better)]
    paired = groups[0] is not None and groups[1] is not None
    if groups[0] and groups[1]:
        evaluation = versus(groups[0], groups[1]).evaluation_half  # paired
    else:
        evaluation = quantile(1e6) * math.hypot(*errors)  # not paired: wider than it could be
    runs = [[answer.directory for answer in answers.of(cell)] for cell in (worse, better)]
    if runs[0] == runs[1]:  # the same trainings, priced twice
        between = _half_of([sides[0][:, 0] - sides[1][:, 0]])
    else:
        between = _half_of([side[:, 0] for side in sides])
    return Verdict(float(means[0] - means[1]), between, float(evaluation), (len(sides[0]), len(sides[1])), paired)


def _half_of(sides: Sequence[np.ndarray]) -> float:
    """Half the 95% interval of a sum or difference of the means of independent trainings (Welch); NaN if one is alone."""
    if any(len(side) < 2 for side in sides):
        return math.nan
    parts = [(side.var(ddof=1) / len(side), len(side) - 1) for side in sides]
    variance = sum(part for part, _ in parts)
    if not variance > 0:
        return math.nan
    df = variance**2 / sum(part**2 / free for part, free in parts)
    return quantile(df) * math.sqrt(variance)


def verdicts(claims: Sequence[Mapping[str, Any]], answers: Answers) -> list[list[str]]:
    """A row for each claim and each pair of cells that it speaks of."""
    rows = []
    for claim in claims:
        better, worse = claim["better"], claim["worse"]
        for cell in answers.matching(claim.get("where", {}) | better):
            other = cell | worse
            if other not in answers.cells or not (verdict := compared(other, cell, answers)):
                continue
            rest = " ".join(f"{k}={v}" for k, v in cell.items() if k not in better and k in set(varying(answers.cells)))
            rows.append([
                str(claim["says"]), rest, verdict.word + _counted(verdict.seeds), f"{verdict.difference:+.4f}", _half(verdict.between),
                _half(verdict.evaluation) + ("" if verdict.paired else " unpaired"), places(other, cell, answers),
            ])  # fmt: skip
    return rows


def places(worse: Cell, better: Cell, answers: Answers) -> str:
    """The parts of a difference, largest first, until they hold nine tenths of all that moves."""
    moved = _moved(worse, better, ("L_T", "L_0", *BANDS), answers)
    if any(math.isnan(moved.get(band, 0.0)) for band in BANDS):  # continuous time has no t to number
        moved = _moved(worse, better, ("L_T", "L_0", "L_mid"), answers)
    for whole in _moved(worse, better, ("bpd",), answers).values():
        moved["the space"] = whole - sum(moved.values())
    if not moved or any(math.isnan(value) for value in moved.values()):
        return ""
    total, so_far, text = sum(map(abs, moved.values())), 0.0, []
    for name, value in sorted(moved.items(), key=lambda item: -abs(item[1])):
        if so_far >= 0.9 * total:
            break
        so_far += abs(value)
        text.append(f"{name} {value:+.4f}")
    return ", ".join(text)


def _moved(worse: Cell, better: Cell, names: Sequence[str], answers: Answers) -> dict[str, float]:
    """worse - better in each of these, where both are known."""
    figures = {name: (answers.figure(worse, name), answers.figure(better, name)) for name in names}
    return {name: first.mean - second.mean for name, (first, second) in figures.items() if first and second}


def _half(value: float) -> str:
    return "unknown" if math.isnan(value) else f"± {value:.4f}"


def _counted(seeds: tuple[int, int]) -> str:
    return "" if min(seeds) > 1 else " (these trainings)"
