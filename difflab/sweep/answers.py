"""What a sweep's runs say of each cell: its own run, or another's that prices the same mean with its variance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import tables
from ..compare.measurement import read_own
from ..compare.seeds import Group, group
from ..errors import ConfigError
from ..files import UNREADABLE
from . import record
from .plan import Plan
from .question import Cell

PARTS = {"L_T": "prior_kl", "L_mid": "transition_kl", "L_0": "decoder_nll"}  # of the bound, as tables call them
BANDS = ("t<=T/100", "T/100<t<=T/10", "t>T/10")  # t = 1 is L_0


@dataclass(frozen=True)
class Answer:
    """One seed of a cell. variance: under which the run's mean is priced; None: its own."""

    directory: Path
    variance: str | None

    @cached_property
    def result(self) -> dict[str, Any]:
        try:
            return json.loads((self.directory / "result.json").read_bytes())
        except UNREADABLE as error:
            raise ConfigError(
                f"{self.directory / 'result.json'} cannot be read ({error}); resume={self.directory} makes it whole."
            ) from error

    def value(self, name: str) -> tuple[float, float]:
        """A figure and its standard error (NaN: it has none), of the bound's parts under the variance asked for. NaN if unknown.

        name: bpd, one of PARTS or BANDS, or any key of result.json, with a dot into what it holds (floors.Gaussian).
        """
        if name in BANDS:
            return self._band(BANDS.index(name)), math.nan
        key = self.result["unit"] if name == "bpd" else PARTS.get(name, name)
        source: Mapping[str, Any] = self.result
        if self.variance is not None and key in (self.result["unit"], *PARTS.values()):
            source = self.result.get("variances", {}).get(self.variance, {})
        *within, key = key.split(".")
        for part in within:
            source = source.get(part, {})
        return _float(source.get(key)), _float(source.get(f"{key}_se"))

    def _band(self, i: int) -> float:
        path = self.directory / "bound" / f"step_{self.result['step']:08d}-variances.csv"
        try:
            columns = tables.load(path)
            t, values = columns["t"], columns[self.variance or "own"]
        except UNREADABLE:
            return math.nan
        T = self.result["T"]
        if not isinstance(T, int):
            return math.nan
        edges = (1, T / 100, T / 10, T)
        return float(values[(t > max(edges[i], 1)) & (t <= edges[i + 1])].sum())


@dataclass(frozen=True)
class Figure:
    """Over a cell's seeds: the mean, its error on these examples, the deviation between seeds (NaN where unknown)."""

    mean: float
    se: float
    spread: float
    seeds: int


class Answers:
    """All cells of a sweep."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self._found: dict[tuple[tuple[str, str], ...], tuple[Cell, list[Answer]]] = {}
        self._open: dict[tuple[tuple[str, str], ...], str] = {}
        self.cells: list[Cell] = []
        asked = [(job.cell, job.name, None) for job in plan.jobs] + [(t.cell, t.job, t.variance) for t in plan.twins]
        self.states = {job.name: record.state(directory / job.name) for job in plan.jobs}
        for cell, job, variance in asked:
            own = without_seed(cell)
            self._add(own)
            state = self.states[job].state if job in self.states else "waiting"
            if state == "done":
                self._found.setdefault(_key(own), (own, []))[1].append(Answer(directory / job, variance))
            else:
                self._open[_key(own)] = state
        for refused in plan.refused:
            self._add(refused.cell)
            self._open[_key(refused.cell)] = "not defined"
        order = {
            key: list(dict.fromkeys(cell.get(key) for cell in self.cells)) for key in {k for c in self.cells for k in c}
        }
        keys = list(dict.fromkeys(key for cell in self.cells for key in cell))
        self.cells.sort(
            key=lambda cell: [order[key].index(cell.get(key)) for key in keys]
        )  # as in the grid, twins in their places

    def _add(self, cell: Cell) -> None:
        if cell not in self.cells:
            self.cells.append(cell)

    def matching(self, where: Mapping[str, str]) -> list[Cell]:
        """The cells that have these values, in their order."""
        return [cell for cell in self.cells if all(cell.get(key) == value for key, value in where.items())]

    def of(self, cell: Cell) -> list[Answer]:
        """Its finished seeds."""
        return self._found.get(_key(cell), (cell, []))[1]

    def missing(self, cell: Cell) -> str:
        """Why a cell has no figure."""
        return self._open.get(_key(cell), "")

    def figure(self, cell: Cell, name: str) -> Figure | None:
        """A value over the cell's seeds; None if none is finished."""
        answers = self.of(cell)
        if not answers:
            return None
        values, errors = np.array([answer.value(name) for answer in answers]).T
        spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        # the seeds are measured on the same examples: their errors are nearly the same, and do not average away
        return Figure(float(values.mean()), float(errors.mean()), spread, len(values))

    def group(self, cell: Cell) -> Group | None:
        """The same with every example's bound; None if another variance is asked for, whose examples are not kept."""
        answers = self.of(cell)
        if not answers or any(answer.variance is not None for answer in answers):
            return None
        return group(" ".join(f"{k}={v}" for k, v in cell.items()), [read_own(answer.directory) for answer in answers])


def without_seed(cell: Mapping[str, str]) -> Cell:
    return {key: value for key, value in cell.items() if key != "seed"}


def varying(cells: Sequence[Cell]) -> Iterator[str]:
    """The keys in which cells differ."""
    for key in dict.fromkeys(key for cell in cells for key in cell):
        if len({cell.get(key) for cell in cells}) > 1:
            yield key


def _key(cell: Cell) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(cell.items()))


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)
