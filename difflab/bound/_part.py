"""A random part of another design's rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Design, Plan
from .noise import key, uniform

KEYED = -2  # the word in place of t that keys the choice of rows: no noise and no t is keyed so


class Part(Design):
    """Some rows of each example of the design `whole`: systematic draws that hold row r with probability p_r, weights divided
    by p_r (Horvitz-Thompson), so that their sum is in expectation that of all. p: float64 [rows], adds up to a whole number."""

    def __init__(self, whole: Design, p: Tensor) -> None:
        super().__init__(None, whole.draws, None, whole.clip_x0, whole.seed, whole.batch_size)
        self.whole, self.p = whole, p

    def chosen(self, index: Tensor) -> Tensor:
        """Positions among an example's rows, int64 [N, rows of the part]."""
        u = uniform(key(self.seed, index, torch.full_like(index, KEYED)))
        steps = torch.arange(round(float(self.p.sum())))
        return torch.searchsorted(self.p.cumsum(0), u[:, None] + steps, right=True).clamp(max=len(self.p) - 1)

    def plan(self, index: Tensor, T: int, first_draw: int = 0) -> Plan:
        chosen = self.chosen(index)
        columns = (column.reshape(len(index), -1).gather(1, chosen) for column in self.whole.plan(index, T, first_draw))
        plan = Plan(*columns)
        return Plan(*(column.flatten() for column in plan._replace(weight=plan.weight / self.p[chosen])))


def inclusion(size: np.ndarray, count: int) -> Tensor:
    """Probabilities in proportion to `size` (a hundredth of them evenly), 1 at most, that add up to `count`; float64 [R]."""
    size = 0.99 * size / max(size.sum(), 1e-300) + 0.01 / len(size)
    certain = np.zeros(len(size), bool)
    while True:
        p = np.where(certain, 1.0, (count - certain.sum()) * size / max(size[~certain].sum(), 1e-300))
        if not (p > 1).any():
            return torch.from_numpy(p)
        certain |= p >= 1
