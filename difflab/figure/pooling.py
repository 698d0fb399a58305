"""A ledger's rows as a figure can show them: neighbouring t pooled until each point rests on enough draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..bound.ledger import Ledger

ENOUGH = 8  # draws behind a point


@dataclass(frozen=True)
class Pooled:
    """The transition terms in the order of t, one entry a pool; all arrays of the same length, sums over the pool."""

    first: np.ndarray  # t of the first and of the last term
    last: np.ndarray
    log_snr_s: np.ndarray  # the ends of the jump that the pool covers
    log_snr_t: np.ndarray
    value: np.ndarray  # L_{t-1}, its standard error and its two parts, in the ledger's unit
    se: np.ndarray
    mean_error: np.ndarray
    variance_mismatch: np.ndarray
    count: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """Terms in each pool."""
        return self.last - self.first + 1

    @property
    def t(self) -> np.ndarray:
        """Where to draw a pool on a logarithmic axis: t itself where nothing is pooled."""
        return np.sqrt(self.first * self.last.astype(float))

    @property
    def width(self) -> np.ndarray:
        """The jump's length in log-SNR, > 0."""
        return self.log_snr_s - self.log_snr_t

    @property
    def largest(self) -> int:
        return int(self.size.max(initial=1))


def transitions(ledger: Ledger, points: int | None = None, *, fine_ends: bool = False) -> Pooled:
    """The ledger's L_{t-1}, pooled until each pool has ENOUGH draws, into at most `points` pools: of one width, or with
    `fine_ends` as wide as they are far from the nearer end of the chain, where single terms decide.

    A pool's standard error is that of a sum of independent rows, which holds where pooling is needed (few draws a row:
    sampled designs). Where a row with draws has none of its own, the scatter of the rows stands in.
    """
    column, key = ledger.columns, ledger.unit.key
    rows = np.flatnonzero(column["term"] == "transition_kl")
    rows = rows[np.argsort(column["t"][rows], kind="stable")]
    count, width = column["count"][rows], np.ones(len(rows))
    if points and fine_ends:
        distance = np.minimum(np.arange(len(rows)), np.arange(len(rows))[::-1]) + 1
        share = 0.0
        while len(_pools(count, width)) > points:
            share = share * 1.2 + 0.01
            width = np.maximum(np.ceil(share * distance), 1)
    elif points:
        width = np.full(len(rows), math.ceil(len(rows) / points))
    pools = _pools(count, width)
    groups = [rows[a:b] for a, b in pools]

    def total(name: str) -> np.ndarray:
        return np.array([column[name][g].sum() for g in groups], dtype=float)

    return Pooled(
        first=np.array([column["t"][g[0]] for g in groups], dtype=int),
        last=np.array([column["t"][g[-1]] for g in groups], dtype=int),
        log_snr_s=np.array([column["log_snr_s"][g[0]] for g in groups], dtype=float),
        log_snr_t=np.array([column["log_snr_t"][g[-1]] for g in groups], dtype=float),
        value=total(key),
        se=np.array([_error(column[key][g], column[f"{key}_se"][g], column["count"][g]) for g in groups], dtype=float),
        mean_error=total(f"mean_error_{key}"),
        variance_mismatch=total(f"variance_mismatch_{key}"),
        count=np.array([column["count"][g].sum() for g in groups], dtype=int),
    )


def term(ledger: Ledger, name: str) -> tuple[float, float]:
    """(value, standard error) of a term that has one row, in the ledger's unit; (0, NaN) if it is absent."""
    rows = np.flatnonzero(ledger.columns["term"] == name)
    if not len(rows):
        return 0.0, math.nan
    key = ledger.unit.key
    return float(ledger.columns[key][rows].sum()), float(ledger.columns[f"{key}_se"][rows[0]])


def log_edges(T: int, bins: int = 72) -> np.ndarray:
    """Edges of bins of t = 1..T, of equal width on a logarithmic axis; t = 1 (the decoder) alone. int64, from 1 to T + 1."""
    if T < 2:
        return np.array([1, 2])
    return np.unique(np.concatenate([[1, 2], np.geomspace(2, T + 1, bins).round()])).astype(int)


def _pools(count: np.ndarray, width: np.ndarray) -> list[tuple[int, int]]:
    """Consecutive ranges of ENOUGH draws and of at least as many rows as the width of any of them allows; what is left at the
    end joins the last range."""
    pools, start, draws = [], 0, 0
    for row, drawn in enumerate(count):
        draws += drawn
        if row + 1 - start >= width[row] and draws >= ENOUGH:
            pools.append((start, row + 1))
            start, draws = row + 1, 0
    if start < len(count):
        pools[-1:] = [(pools[-1][0] if pools else 0, len(count))]
    return pools


def _error(value: np.ndarray, se: np.ndarray, count: np.ndarray) -> float:
    known = np.isfinite(se)
    if known[count > 0].all():
        return float(np.sqrt((se[known] ** 2).sum()))
    return float(value.std(ddof=1) * math.sqrt(len(value))) if len(value) > 1 else math.nan
