"""The terms of a measurement, example by example, in memory that does not grow with the number of examples or of terms.

An .npz holds them compressed, so they are unpacked once into a temporary directory and mapped from there.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ..errors import ConfigError
from ..files import UNREADABLE
from .measurement import Measurement

CELLS = 1 << 20  # (example, t) cells that are looked at together
ROWS = 1 << 20  # rows of a list of draws that are looked at together


class Table(NamedTuple):
    """What was measured of some examples."""

    nats: np.ndarray  # float64 [n, T + 1]: each example's estimate of each term, slot 0 = prior_kl; rows add up to its bound, less its space's parts
    seen: np.ndarray  # bool [n, T + 1]: whether it was evaluated there (slot 0: always)
    totals: np.ndarray | None  # float64 [n, draws]: the bound by each draw alone; None if the file keeps no draws apart


class Terms(Protocol):
    """A measurement's terms."""

    def table(self, positions: np.ndarray) -> Table:
        """Those of the examples at `positions` (int64 [n], of the measurement's index)."""
        ...


@contextmanager
def terms(measurement: Measurement) -> Iterator[Terms]:
    """The terms while the block lasts. ConfigError if the file cannot be read or does not add up to its totals."""
    path = measurement.stem.with_name(measurement.stem.name + ".npz")
    with tempfile.TemporaryDirectory(prefix="difflab-") as aside:
        try:
            with zipfile.ZipFile(path) as archive:
                names = [
                    name
                    for name in ("nats", "by_draw", "example", "t", "draw", "weight")
                    if f"{name}.npy" in archive.namelist()
                ]
                for name in names:
                    archive.extract(f"{name}.npy", aside)
            arrays = {name: np.load(Path(aside) / f"{name}.npy", mmap_mode="r") for name in names}
            layout = (Dense if arrays["nats"].ndim == 2 else Drawn)(measurement, **arrays)
        except UNREADABLE as error:
            raise ConfigError(
                f"{measurement.directory}: {path.name} cannot be read ({error}); make it whole with resume={measurement.directory}."
            ) from error
        yield layout


class Dense:
    """Every t of every example: nats float32 [N, T + 1], the mean over the draws; by_draw [N, draws]: the bound by each."""

    def __init__(self, measurement: Measurement, nats: np.ndarray, by_draw: np.ndarray | None = None) -> None:
        if nats.shape != (len(measurement.index), measurement.T + 1):
            raise ValueError(f"nats has the shape {nats.shape}")
        self._measurement, self._nats, self._by_draw = measurement, nats, by_draw

    def table(self, positions: np.ndarray) -> Table:
        nats = self._nats[positions].astype(np.float64)
        nats[:, 0] = self._measurement.prior_kl[positions]
        check(self._measurement, positions, nats)
        by_draw = None if self._by_draw is None else np.asarray(self._by_draw[positions])
        return Table(nats, np.ones_like(nats, dtype=bool), by_draw)


class Drawn:
    """A list of evaluated (example, t, draw) with weights, [R] each, in any order (fast where examples lie together)."""

    def __init__(
        self,
        measurement: Measurement,
        nats: np.ndarray,
        example: np.ndarray,
        t: np.ndarray,
        draw: np.ndarray,
        weight: np.ndarray,
    ) -> None:
        if not len(nats) == len(example) == len(t) == len(draw) == len(weight):
            raise ValueError("its columns differ in length")
        self._measurement, self._columns = measurement, (example, t, draw, weight, nats)
        count, self._draws = len(measurement.index), 1
        self._first, self._end = (
            np.full(count, len(nats)),
            np.zeros(count, np.int64),
        )  # the rows an example lies between
        for start in range(0, len(nats), ROWS):
            part = np.asarray(example[start : start + ROWS])
            if part.min() < 0 or part.max() >= count or t[start : start + ROWS].max() > measurement.T:
                raise ValueError("it has rows of an example or a t that does not exist")
            here, first = np.unique(part, return_index=True)
            self._first[here] = np.minimum(self._first[here], start + first)
            here, last = np.unique(part[::-1], return_index=True)
            self._end[here] = np.maximum(self._end[here], start + len(part) - last)
            self._draws = max(self._draws, int(draw[start : start + ROWS].max()) + 1)

    def table(self, positions: np.ndarray) -> Table:
        n, T, draws = len(positions), self._measurement.T, self._draws
        slot = np.full(len(self._measurement.index), -1)
        slot[positions] = np.arange(n)
        nats, totals, seen = np.zeros(n * (T + 1)), np.zeros(n * draws), np.zeros(n * (T + 1), np.int64)
        last = int(self._end[positions].max(initial=0))
        for start in range(int(self._first[positions].min(initial=last)), last, ROWS):
            rows = slice(start, min(start + ROWS, last))
            example, t, draw, weight, value = (np.asarray(column[rows]) for column in self._columns)
            row = slot[example]
            here = row >= 0
            row, weighted = row[here], value[here].astype(np.float64) * weight[here]
            cell = row * (T + 1) + t[here]
            nats += np.bincount(cell, weighted, minlength=len(nats))
            seen += np.bincount(cell, minlength=len(seen))
            totals += np.bincount(row * draws + draw[here], weighted * draws, minlength=len(totals))
        prior, table = self._measurement.prior_kl[positions], nats.reshape(n, T + 1)
        table[:, 0] = prior
        check(self._measurement, positions, table)
        evaluated = seen.reshape(n, T + 1) > 0
        evaluated[:, 0] = True
        fixed = prior + self._measurement.space([*self._measurement.parts], positions).sum(1)
        return Table(table, evaluated, totals.reshape(n, draws) + fixed[:, None])


def check(measurement: Measurement, positions: np.ndarray, nats: np.ndarray) -> None:
    """The terms [n, T + 1] and the space's must add up to each example's bound (both are rounded: float32 terms, perhaps
    weights)."""
    total = measurement.total[positions] - measurement.space([*measurement.parts], positions).sum(1)
    if not np.allclose(nats.sum(1), total, rtol=1e-4, atol=1e-4, equal_nan=True):
        raise ConfigError(
            f"{measurement.directory}: the terms of {measurement.stem.name}.npz do not add up to its totals; the run's files were "
            f"changed, make them whole with resume={measurement.directory}."
        )
