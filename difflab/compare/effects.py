"""Main effects and interactions of what a sweep varies, on every part of the bound.

Two intervals, never mixed. `paired`: each example's own contrast, over examples; the networks as they are. `seeds`: from one
training to the next, where cells were trained more than once; its variance is the sum over cells of w^2 s^2 / seeds, with
Satterthwaite's degrees of freedom, so that a cell that scatters wildly does not lend its certainty from those that do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..tables import Columns, columns
from .design import Design
from .factors import Factor, factors
from .measurement import Measurement
from .parts import Part, Parts, collect
from .seeds import Group
from .student import quantile

ROUNDING = 1e-14  # of a part, beside the largest: parts are what is left of sums over t


@dataclass(frozen=True)
class Contrast:
    """A combination of cells; arrays [P]. NaN: not known, or (`value`) not to be had from these cells."""

    kind: str  # mean, effect, difference, interaction
    factor: str
    level: str
    value: np.ndarray
    paired_se: np.ndarray
    seeds_se: np.ndarray
    seeds_df: np.ndarray
    n: int  # examples
    versus: str = ""

    @property
    def estimable(self) -> bool:
        return bool(np.isfinite(self.value).any())

    @property
    def paired_half(self) -> np.ndarray:
        """Half the 95% interval over examples."""
        return quantile(self.n - 1) * self.paired_se

    @cached_property
    def seeds_half(self) -> np.ndarray:
        """Half the 95% interval over trainings; NaN where their spread is unknown. (Degrees of freedom are cut after two
        digits: quantiles are slow to find, and are found once for each.)"""
        return np.array([quantile(df) for df in (np.floor(self.seeds_df * 100) / 100).tolist()]) * self.seeds_se


@dataclass(frozen=True)
class Movement:
    """What of the variation between cells an effect accounts for, [P] shares of 1; NaN where the cells do not vary."""

    name: str
    share: np.ndarray
    size: np.ndarray  # its root mean square over the cells, in the unit
    df: int
    df_full: int


@dataclass(frozen=True)
class View:
    """The effects over some of the cells on some scale."""

    name: str
    log: bool  # natural logarithms: effects multiply
    parts: tuple[Part, ...]
    factors: tuple[Factor, ...]
    names: tuple[str, ...]  # of the cells
    means: np.ndarray  # [C, P]
    movements: list[Movement]
    rest: np.ndarray  # [P] shares: interactions of three factors and more, and cells that differ in nothing named here
    trainings: np.ndarray  # [P]: the share that the spread of trainings alone would leave; NaN where it is unknown
    shared: np.ndarray  # [P]: what effects explain alike, where the grid has holes and does not separate them
    spread: np.ndarray  # [P]: the standard deviation between cells, in the unit
    contrasts: list[Contrast]
    borrowed: int  # cells of one training that are taken to scatter as the others do

    def place(self, name: str) -> int | None:
        return next((i for i, part in enumerate(self.parts) if part.name == name), None)

    def of(self, kind: str, factor: str | None = None) -> list[Contrast]:
        return [c for c in self.contrasts if c.kind == kind and factor in (None, c.factor)]


@dataclass(frozen=True)
class Effects:
    """`views`: the one to read first. Empty, with `notes` that say why, where nothing can be said."""

    factors: tuple[Factor, ...]  # as they were varied, cells that failed among them
    views: list[View]
    levels: Mapping[Path, Mapping[str, str]]  # of every run
    notes: list[str]
    limit: float = math.nan  # above which a cell is left out of the first view
    left_out: list[str] = field(default_factory=list)
    edges: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Cells:
    """The cells of a grid: one for each recipe, with its trainings. [C, ...]"""

    names: list[str]
    design: np.ndarray  # int [C, K]
    runs: list[list[int]]  # trainings, as rows of Parts


def effects(groups: Sequence[Group], directories: Sequence[Path], name: str = "bound") -> Effects:
    """Of the runs in `groups` (a cell each); `directories` are those of every job, those that failed among them. `name`: of the
    part that says which cells are wild."""
    varied, levels = factors(list(dict.fromkeys([*directories, *(m.directory for g in groups for m in g.members)])))
    named = {d: dict(zip([f.name for f in varied], own)) for d, own in levels.items()}
    runs = [member for group in groups for member in group.members]
    nothing = Effects(tuple(varied), [], named, [])
    if not varied or not runs:
        return nothing
    parts = collect(runs)
    if parts is None:
        return Effects(tuple(varied), [], named, ["The runs have no example in common, so no effects are told."])
    row = {id(run): r for r, run in enumerate(runs)}
    cells = [
        (group.name, named[group.members[0].directory], sorted((row[id(m)] for m in group.members), key=lambda r: str(runs[r].result.get("seed"))))
        for group in groups
    ]  # fmt: skip
    cells.sort(key=lambda cell: (*cell[1].values(), cell[0]))  # whatever order the runs came in
    place = next(i for i, part in enumerate(parts.parts) if part.name == name)
    bounds = np.array([parts.means[own, place].mean() for _, _, own in cells])
    limit = wild_limit(bounds, runs)
    sound = [cell for cell, bound in zip(cells, bounds) if bound <= limit]
    views, notes = [], []
    several = len(sound) < len(cells)
    if several:
        views.append(_view("without wild cells", parts, sound, varied, notes))
    views.append(_view("all cells", parts, cells, varied, [] if several else notes))
    views.append(_view("all cells, logarithms", _logarithms(parts), cells, varied, []))
    left_out = [cell[0] for cell, bound in zip(cells, bounds) if bound > limit]
    return Effects(tuple(varied), [v for v in views if v], named, notes, limit, left_out, parts.edges)


def wild_limit(bounds: np.ndarray, runs: Sequence[Measurement]) -> float:
    """A bound above it hides all others' differences: worse than every model without a network, and far from the best (twice
    as much; where bounds are near 0 or below, as densities' may be, one unit more)."""
    known = [floors for run in runs if isinstance(floors := run.result.get("floors"), Mapping)]
    floors = [value for of in known for value in of.values() if isinstance(value, int | float) and math.isfinite(value)]
    best = float(bounds.min())
    return max([best + max(abs(best), 1.0), *floors])


def _logarithms(parts: Parts) -> Parts:
    """Of the parts that are positive in every run; each example by what it adds to the logarithm of the mean (delta method)."""
    kept = [i for i in range(len(parts.parts)) if (parts.means[:, i] > 0).all()]
    means = parts.means[:, kept]
    each = parts.each[:, :, kept] / means[:, None].astype(np.float32)  # what all examples have in common is no matter
    return Parts(tuple(parts.parts[i] for i in kept), parts.edges, parts.index, np.log(means), each)


def _view(name: str, parts: Parts, cells: Sequence[Any], varied: Sequence[Factor], notes: list[str]) -> View | None:
    """None where no factor has two levels among these cells."""
    present = [(f, [level for level in f.levels if any(own[f.name] == level for _, own, _ in cells)]) for f in varied]
    for factor, kept in present:
        lost = [level for level in factor.levels if level not in kept]
        if lost and len(kept) == 1:
            notes.append(
                f"{factor.name} has only {kept[0]} here (no cell of {', '.join(lost)}), so it has no effect to tell."
            )
        elif lost:
            notes.append(f"{factor.name}: no cell of {', '.join(lost)} is left.")
    used = [Factor(factor.name, tuple(kept)) for factor, kept in present if len(kept) > 1]
    if not used or not parts.parts:
        return None
    places = np.array([[f.levels.index(own[f.name]) for f in used] for _, own, _ in cells])
    return estimated(name, parts, Cells([c[0] for c in cells], places, [c[2] for c in cells]), used, notes)


def estimated(name: str, parts: Parts, cells: Cells, used: Sequence[Factor], notes: list[str]) -> View:
    design = Design(used, cells.design)
    means = np.stack([parts.means[own].mean(0) for own in cells.runs])
    each = np.stack([parts.each[own].mean(0, dtype=np.float64) for own in cells.runs])
    scatter = _Scatter.of(parts, cells)
    shares, rest, total = design.shares(means)
    varies = total > (1e-9 * np.abs(means).max(0)) ** 2 * len(means)  # more than rounding

    def part_of(squares: np.ndarray) -> np.ndarray:
        return np.divide(squares, total, out=np.full_like(total, math.nan), where=varies)

    movements = [
        Movement(
            " x ".join(used[k].name for k in share.term), part_of(share.squares), np.sqrt(share.squares / len(means)),
            share.df, share.df_full,
        )
        for share in shares
    ]  # fmt: skip
    for movement in movements:
        if movement.df == 0:
            notes.append(f"{movement.name} cannot be told from these cells.")
        elif movement.df < movement.df_full:
            notes.append(
                f"{movement.name} can be told in part: {movement.df} of {movement.df_full} degrees of freedom."
            )
    one = np.full(len(cells.names), 1 / math.sqrt(len(cells.names)))
    noise = scatter.variance(np.eye(len(one)) - np.outer(one, one))  # of each cell about the mean of all
    return View(
        name=name,
        log=name.endswith("logarithms"),
        parts=parts.parts,
        factors=tuple(used),
        names=tuple(cells.names),
        means=means,
        movements=movements,
        rest=part_of(rest),
        trainings=part_of(noise),
        shared=part_of(np.maximum(total - rest - sum(share.squares for share in shares), 0.0)),
        spread=np.sqrt(total / max(len(means) - 1, 1)),
        contrasts=_contrasts(design, used, means, each, scatter),
        borrowed=scatter.borrowed,
    )


@dataclass(frozen=True)
class _Scatter:
    """The spread of trainings: s^2 / seeds of each cell [C, P], its degrees of freedom [C] (0: one training, which scatters
    like the others), seeds [C]."""

    squares: np.ndarray  # s^2, NaN for one training
    seeds: np.ndarray

    @classmethod
    def of(cls, parts: Parts, cells: Cells) -> _Scatter:
        unknown = np.full(len(parts.parts), math.nan)
        squares = [parts.means[own].var(0, ddof=1) if len(own) > 1 else unknown for own in cells.runs]
        return cls(np.stack(squares), np.array([len(own) for own in cells.runs]))

    @property
    def known(self) -> np.ndarray:
        return self.seeds > 1

    @property
    def borrowed(self) -> int:
        return int((~self.known).sum()) if self.known.any() else 0

    def error(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(standard error, degrees of freedom), [P] each, of a combination of cells."""
        if not self.known.any():
            unknown = np.full(self.squares.shape[1], math.nan)
            return unknown, unknown
        squares = self.squares[self.known]
        parts = self._coefficients(weights**2)[:, None] * squares
        variance = parts.sum(0)
        below = (parts**2 / (self.seeds[self.known] - 1)[:, None]).sum(0)
        most = float((self.seeds - 1).sum())  # where nothing scatters, as L_T does not
        df = np.divide(variance**2, below, out=np.full_like(variance, most), where=below > 0)
        return np.sqrt(variance), df

    def variance(self, weights: np.ndarray) -> np.ndarray:
        """The sum of the variances of several combinations [M, C], [P]."""
        if not self.known.any():
            return np.full(self.squares.shape[1], math.nan)
        return self._coefficients((weights**2).sum(0)) @ self.squares[self.known]

    def _coefficients(self, squared: np.ndarray) -> np.ndarray:
        """What each known s^2 is multiplied by; cells of one training have the mean of the known ones."""
        own = squared / self.seeds
        return own[self.known] + own[~self.known].sum() / self.known.sum()


def _contrasts(
    design: Design, used: Sequence[Factor], means: np.ndarray, each: np.ndarray, scatter: _Scatter
) -> list[Contrast]:
    def contrast(kind: str, factor: str, level: str, weights: np.ndarray | None, versus: str = "") -> Contrast:
        n = each.shape[1]
        if weights is None:
            unknown = np.full(means.shape[1], math.nan)
            return Contrast(kind, factor, level, unknown, unknown, unknown, unknown, n, versus)
        own = np.tensordot(weights, each, 1)  # [N, P]: each example's contrast
        paired = own.std(0, ddof=1) / math.sqrt(n) if n > 1 else np.full(means.shape[1], math.nan)
        value, size = weights @ means, ROUNDING * (np.abs(weights) @ np.abs(means)).max(initial=0.0)
        value, paired = (np.where(np.abs(x) < size, 0.0, x) for x in (value, paired))
        return Contrast(kind, factor, level, value, paired, *scatter.error(weights), n, versus)

    found = []
    for k, factor in enumerate(used):
        levels = range(len(factor.levels))
        at = [contrast("mean", factor.name, factor.levels[i], design.mean(k, i)) for i in levels]
        found += at
        found += [contrast("effect", factor.name, factor.levels[i], design.effect(k, i)) for i in levels]
        first = [float(c.value[0]) if c.estimable else math.inf for c in at]
        best = min(levels, key=lambda i: first[i])
        found += [
            contrast("difference", factor.name, factor.levels[i], design.difference(k, i, best), factor.levels[best])
            for i in sorted(levels, key=lambda i: first[i])
            if i != best
        ]
    for pair in design.pairs:
        names = " x ".join(used[k].name for k in pair)
        for i in range(len(used[pair[0]].levels)):
            for j in range(len(used[pair[1]].levels)):
                level = " x ".join(used[k].levels[x] for k, x in zip(pair, (i, j)))
                found.append(contrast("interaction", names, level, design.interaction(pair, (i, j))))
    return found


def effect_table(found: Effects) -> Columns:
    """comparison_effects.csv: a row for each view, contrast and part."""
    rows: list[dict[str, Any]] = []
    for view in found.views:
        for c in view.contrasts:
            halves = {"paired": c.paired_half, "seeds": c.seeds_half}
            for p, part in enumerate(view.parts):
                row = {
                    "view": view.name, "kind": c.kind, "factor": c.factor, "level": c.level, "versus": c.versus,
                    "part": part.name, "value": float(c.value[p]), "paired_se": float(c.paired_se[p]),
                    "seeds_se": float(c.seeds_se[p]), "seeds_df": float(c.seeds_df[p]),
                }  # fmt: skip
                for kind, half in halves.items():
                    row[f"{kind}_low"], row[f"{kind}_high"] = (float(c.value[p] + sign * half[p]) for sign in (-1, 1))
                rows.append(row | {"estimable": str(c.estimable).lower(), "examples": c.n})
    return columns(rows)


def share_table(found: Effects) -> Columns:
    """comparison_shares.csv: what of the variation between cells each effect accounts for (type II), part by part."""
    rows: list[dict[str, Any]] = []
    for view in found.views:
        for p, part in enumerate(view.parts):
            start = {"view": view.name, "part": part.name, "spread": float(view.spread[p]), "cells": len(view.names)}
            for m in view.movements:
                rows.append(
                    start | {"effect": m.name, "share": float(m.share[p]), "size": float(m.size[p]), "df": m.df, "df_full": m.df_full}
                )  # fmt: skip
            for name, share in (("rest", view.rest), ("shared", view.shared), ("trainings alone", view.trainings)):
                rows.append(start | {"effect": name, "share": float(share[p]), "size": math.nan, "df": 0, "df_full": 0})
    return columns(rows)
