"""Student's t: what turns a mean and its standard error into an interval and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

ALPHA = 0.05  # 95% intervals, 5% of false alarms over all the runs of a comparison


def p_value(t: float, df: float) -> float:
    """Two-sided P(|T| >= |t|) for `df` > 0 degrees of freedom, not necessarily whole; NaN if t is.

    It is the regularised incomplete beta function I_x(df/2, 1/2) at x = df / (df + t^2).
    """
    if math.isnan(t):
        return math.nan
    return _incomplete_beta(df / 2, 0.5, df / (df + t * t)) if math.isfinite(t) else 0.0


@lru_cache(maxsize=8192)
def quantile(df: float, alpha: float = ALPHA) -> float:
    """The t that |T| exceeds with probability `alpha`, relative error below 1e-12; NaN for df <= 0 (or NaN)."""
    if not df > 0:
        return math.nan
    low, high = 0.0, 1.0
    while p_value(high, df) > alpha:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(middle, df) > alpha else (low, middle)
    return (low + high) / 2


def against_the_best(p: Sequence[float]) -> list[float]:
    """p-values of differences to the best, adjusted so that those below ALPHA hold together with a risk of ALPHA.

    The best was chosen among all of them because it came out lowest, so the family is that of all pairs of runs, of
    which these are some: Holm's step-down procedure (1979) with that number. NaN (not known) stays NaN, does not count.
    """
    order = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    adjusted, largest = [math.nan] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (pairs_of(len(order) + 1) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def pairs_of(runs: int) -> int:
    return runs * (runs - 1) // 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) by its continued fraction (DLMF 8.17.22), which converges fast on one side of the mean."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    # modified Lentz: c and d are ratios of successive numerators and denominators
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * fraction / a
