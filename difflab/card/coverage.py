"""Are held-out examples as far from the training data as training examples are? Nearer: a leak. Farther: a shift.

A training example's distance to the others and a held-out example's to all of them are not alike: neighbours share their
distances. So some training examples, the probes, are taken out at random, and the distances of both to what is left, R,
are compared. If held-out and training examples are exchangeable, they are two independent samples given R, of one law,
and every statement below holds as in a textbook.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

Z = NormalDist().inv_cdf(0.975)


def coverage(held: np.ndarray, probe: np.ndarray) -> dict[str, Any]:
    """Of two samples of distances: medians; in what share of all pairs the held-out example is the nearer one (ties count
    half: Mann & Whitney), with its 95% interval, 0.5 if they are alike; the Kolmogorov-Smirnov statistic and its p."""
    n, m = len(held), len(probe)
    ordered = np.sort(probe)
    below, upto = (np.searchsorted(ordered, held, side) for side in ("left", "right"))
    share = 1 - float((below + upto).mean()) / (2 * m)
    low, high = interval(share, n, m)
    statistic = ks(held, probe)
    return {
        "examples": n, "probes": m, "median": float(np.median(held)), "probe_median": float(np.median(probe)),
        "share_nearer": share, "share_nearer_low": low, "share_nearer_high": high,
        "ks": statistic, "p": ks_p(statistic, n * m / (n + m)),
    }  # fmt: skip


def interval(share: float, n: int, m: int) -> tuple[float, float]:
    """95% interval of a share of n x m pairs: all that are no farther from it than Z of their own standard deviations, as
    Wilson's of a proportion (Newcombe 2006, method 5; Hanley & McNeil's 1982 variance). Wide enough for ties, too."""

    def inside(true: float) -> bool:
        spread = (1 - true) / (2 - true) + true / (1 + true)
        variance = true * (1 - true) * (1 + ((n + m) / 2 - 1) * spread) / (n * m)
        return abs(share - true) <= Z * math.sqrt(variance)

    ends = []
    for end in (0.0, 1.0):
        near, far = share, end  # the share itself is inside, and the limit between it and the end is found by halves
        for _ in range(50):
            middle = (near + far) / 2
            near, far = (middle, far) if inside(middle) else (near, middle)
        ends.append(near)
    return ends[0], ends[1]


def ks(a: np.ndarray, b: np.ndarray) -> float:
    """sup |F_a - F_b|."""
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())


def ks_p(statistic: float, n: float) -> float:
    """P(at least so large by chance): Kolmogorov's law with Stephens' (1970) correction; too large where values tie."""
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * statistic
    if x < 0.2:  # the series needs ever more terms, and the sum is 1
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))))
