"""Do two splits hold the classes in the same proportions?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

SMALLEST = 5.0  # expected examples of a class in either split, below which the chi-squared law does not hold


def counts(label: torch.Tensor, classes: int) -> np.ndarray:
    """int64 [classes]."""
    return torch.bincount(label, minlength=classes).numpy()


def homogeneity(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Pearson's chi-squared of two rows of class counts: statistic, degrees of freedom, p.

    Classes with fewer than SMALLEST expected examples in either split count as one; p is 1 where fewer than two are left.
    """
    both = a + b
    expected = both * min(a.sum(), b.sum()) / both.sum()
    small = expected < SMALLEST
    rows = np.array([[*x[~small], x[small].sum()] for x in (a, b)], dtype=float)
    rows = rows[:, rows.sum(0) > 0]
    df = rows.shape[1] - 1
    if df < 1:
        return {"chi2": 0.0, "df": 0, "p": 1.0, "pooled": int((small & (both > 0)).sum())}
    wanted = rows.sum(1, keepdims=True) * rows.sum(0) / rows.sum()
    statistic = float(((rows - wanted) ** 2 / wanted).sum())
    p = float(torch.special.gammaincc(torch.tensor(df / 2, dtype=torch.float64), torch.tensor(statistic / 2).double()))
    return {"chi2": statistic, "df": df, "p": p, "pooled": int((small & (both > 0)).sum())}
