"""Means over examples with their standard errors, and the two parts of those, from one pass."""

from __future__ import annotations

import math

import numpy as np


class Moments:
    """Mean and spread over examples of vectors [size], block by block (Chan, Golub & LeVeque 1983).

    An example's value is the mean over its draws; with two or more of them the standard error is split exactly into the
    part of the draws (what more of them would reduce) and the part between examples (what they would not).
    """

    def __init__(self, size: int) -> None:
        self.n, self.draws = 0, 1
        self.mean = np.zeros(size)
        self._squares = np.zeros(size)  # sum of squared deviations from the mean
        self._within = np.zeros(size)  # sum over examples of the variance between draws

    def add(self, x: np.ndarray) -> None:
        """x float64 [n, draws, size], each draw alone an estimate of its example's value."""
        each = x.mean(1)
        mean, total = each.mean(0), self.n + len(each)
        delta = mean - self.mean
        self._squares += ((each - mean) ** 2).sum(0) + delta**2 * (self.n * len(each) / total)
        self.mean += delta * (len(each) / total)
        if x.shape[1] > 1:
            self._within += x.var(1, ddof=1).sum(0)
        self.n, self.draws = total, x.shape[1]

    @property
    def se(self) -> np.ndarray:
        """Standard error of the mean; NaN for a single example."""
        return np.sqrt(self._squares / (self.n - 1) / self.n) if self.n > 1 else np.full_like(self.mean, math.nan)

    @property
    def noise(self) -> np.ndarray:
        """The part of `se` that is due to the draws; NaN with one draw."""
        if self.draws < 2 or self.n < 2:
            return np.full_like(self.mean, math.nan)
        return np.sqrt(self._within / self.draws) / self.n

    @property
    def between(self) -> np.ndarray:
        """The part of `se` that is due to the examples: se^2 = between^2 + noise^2 (cut at 0); NaN with one draw."""
        return np.sqrt(np.maximum(self.se**2 - self.noise**2, 0))


def jackknife(replicates: np.ndarray) -> np.ndarray:
    """Standard error of a figure from its values without each group, [G, ...] -> [...] (Quenouille & Tukey)."""
    g = len(replicates)
    if g < 2:
        return np.full(replicates.shape[1:], math.nan)
    return np.sqrt((g - 1) / g * ((replicates - replicates.mean(0)) ** 2).sum(0))
