"""What computing in bfloat16 does to a bound: some of its terms evaluated again in float32, on the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..diffusion import Diffusion
from .base import Design, Plan
from .estimate import Estimate
from .estimator import Examples, evaluate
from .noise import key, uniform

LEAST, SHARE = 1024, 0.02  # terms that are evaluated again: so many, or this share of all
EXAMPLES = 32  # over so many examples at least: the standard error of a few is not worth its name
KEYED = -2  # the word in place of t that keys the choice of terms: no noise and no t is keyed so


class Shift(NamedTuple):
    """measured - float32: mean over the first examples and its standard error (the estimate's unit per dimension), and
    the network evaluations that it took."""

    mean: float
    se: float
    nfe: int


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


def measure_shift(
    diffusion: Diffusion,
    examples: Examples,
    estimate: Estimate,
    device: torch.device,
    on_batch: Callable[[int, int], None] | None = None,
) -> Shift:
    """`estimate` against `diffusion`, whose network computes in float32: on some of the rows of the first round, the larger a
    term the likelier. NaN, and nothing is evaluated, where those hold a number that is not finite."""
    rows = estimate.design.rows(estimate.T)
    wanted = max(LEAST, SHARE * estimate.nfe)
    count = min(estimate.examples, max(math.ceil(wanted / rows), EXAMPLES))
    index = torch.from_numpy(estimate.index[:count])
    nats = _terms(estimate, count * rows).reshape(count, rows)
    if not np.isfinite(nats).all():
        return Shift(math.nan, math.nan, 0)
    size = np.abs(nats * estimate.design.plan(index, estimate.T).weight.numpy().reshape(count, rows)).mean(0)
    part = Part(estimate.design, inclusion(size, min(math.ceil(wanted / count), rows)))
    again = evaluate(diffusion, examples.first(count), part, device, clip_x0=estimate.clip_x0, on_batch=on_batch)
    chosen, weight = part.chosen(index).numpy(), part.plan(index, estimate.T).weight.numpy()
    difference = np.take_along_axis(nats, chosen, 1) - _terms(again, chosen.size).reshape(chosen.shape)
    shift = (difference * weight.reshape(chosen.shape)).sum(1) * estimate.scale
    se = shift.std(ddof=1) / math.sqrt(count) if count > 1 else math.nan
    return Shift(float(shift.mean()), float(se), again.nfe)


def inclusion(size: np.ndarray, count: int) -> Tensor:
    """Probabilities in proportion to `size` (a hundredth of them evenly), 1 at most, that add up to `count`; float64 [R]."""
    size = 0.99 * size / max(size.sum(), 1e-300) + 0.01 / len(size)
    certain = np.zeros(len(size), bool)
    while True:
        p = np.where(certain, 1.0, (count - certain.sum()) * size / max(size[~certain].sum(), 1e-300))
        if not (p > 1).any():
            return torch.from_numpy(p)
        certain |= p >= 1


def _terms(estimate: Estimate, count: int) -> np.ndarray:
    """The first so many, float64, nats, unweighted."""
    return estimate.rows[:count, estimate.columns["nats"]].astype(np.float64)
