"""What computing in bfloat16 does to a bound: some of its terms evaluated again in float32, on the same noise."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from ..diffusion import Diffusion
from .estimate import Estimate
from .estimator import Examples, evaluate

LEAST, SHARE = 1024, 0.02  # terms that are evaluated again: so many, or this share of all


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
    """`estimate` against the same rows from `diffusion`, whose network computes in float32."""
    design = copy.copy(estimate.design)
    design.target_se = design.examples = None  # one round of just these examples
    count = math.ceil(max(LEAST, SHARE * estimate.nfe) / design.rows(estimate.T))
    few = estimate.first(max(count, 2))
    again = evaluate(
        diffusion, examples.first(few.examples), design, device, clip_x0=estimate.clip_x0, on_batch=on_batch
    )
    measured, plain = few.totals()[:, : design.draws].mean(1), again.totals().mean(1)  # the first round is its draws
    difference = (measured - plain) * estimate.scale
    se = difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
    return Shift(float(difference.mean()), float(se), again.nfe)
