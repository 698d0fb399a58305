"""What computing in bfloat16 does to a bound: some of its terms evaluated again in float32, on the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ..diffusion import Diffusion
from ._part import Part, inclusion
from .estimate import Estimate
from .estimator import Examples, evaluate

LEAST, SHARE = 1024, 0.02  # terms that are evaluated again: so many, or this share of all
EXAMPLES = 32  # over so many examples at least: the standard error of a few is not worth its name


class Shift(NamedTuple):
    """measured - float32: mean over the first examples and its standard error (the estimate's unit per dimension), and
    the network evaluations that it took."""

    mean: float
    se: float
    nfe: int


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


def _terms(estimate: Estimate, count: int) -> np.ndarray:
    """The first so many, float64, nats, unweighted."""
    return estimate.rows[:count, estimate.columns["nats"]].astype(np.float64)
