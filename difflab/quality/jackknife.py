"""Standard errors and the bias of anything that samples and data are reduced to: leave out a group of both at a time.

Sample i and example i are of group i mod G, so that samples in the order of their classes leave every group alike. With F the
statistic of all and F_g that without group g (Efron & Tibshirani 1993, chapter 11),

    V = (G-1)/G sum_g (F_g - mean F_g)^2        bias = (G-1) (mean F_g - F).

The bias is removed as far as it falls like 1/N: the extrapolation to endless samples of Chong & Forsyth (2020, FID_infinity),
here from N and N (1 - 1/G). V is never too small on average and counts what is of second order twice, which near its floor is
all there is of a distance. With pairs of groups left out, that part is known (Efron & Stein 1981):

    Q_gh = G F - (G-1) (F_g + F_h) + (G-2) F_gh,    se^2 = V - about E[Q^2] / 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A statistic; without: F_g of each group, from which a difference to another one's on the same data has its error."""

    value: float
    se: float
    corrected: float  # without the bias of order 1/N
    without: tuple[float, ...]

    def flat(self, key: str, corrected: bool = False) -> dict[str, object]:
        """{key: value, key_se: ...} for a file."""
        found: dict[str, object] = {key: self.value, f"{key}_se": self.se, f"{key}_without": list(self.without)}
        return found | ({f"{key}_corrected": self.corrected} if corrected else {})


def jackknife(
    value: float,
    without: Sequence[float],
    pairs: Sequence[tuple[int, int, float]] = (),
    proportion_of: int | None = None,
) -> Estimate:
    """From F, each F_g and some F_gh, as (g, h, F_gh). proportion_of: F is the share of so many; one that all or none of them
    make up, in every group, is then not without error (Agresti & Coull 1998)."""
    F = np.asarray(without, dtype=float)
    G = len(F)
    variance = (G - 1) / G * float(((F - F.mean()) ** 2).sum())
    if pairs:
        Q = [G * value - (G - 1) * (F[g] + F[h]) + (G - 2) * both for g, h, both in pairs]
        # each Q holds its own pair's part of second order, over G, and a little of all others'
        second = float(np.square(Q).mean()) / (1 + 2 * (G - 2) / (G - 1) ** 2)
        variance = max(variance - second * (G / (G - 1)) ** 2 + second * (G - 1) / (2 * G), variance / 4)
    if proportion_of and variance == 0 and value in (0.0, 1.0):
        n = proportion_of + 4
        share = (value * proportion_of + 2) / n
        variance = share * (1 - share) / n
    return Estimate(value, math.sqrt(variance), value - (G - 1) * (float(F.mean()) - value), tuple(F.tolist()))


def pairs_of(groups: int, away: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of groups that stand so far from each other in a ring; none of fewer than three, which leave nothing."""
    found = {(min(g, h), max(g, h)) for step in away for g in range(groups) if g != (h := (g + step) % groups)}
    return sorted(found) if groups > 2 else []


def group_of(count: int, groups: int) -> np.ndarray:
    """int64 [count]."""
    return np.arange(count) % groups
