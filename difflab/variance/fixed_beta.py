"""v = beta: the variance of the forward step, optimal where the data is itself N(0, I) (Ho et al. 2020, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedule.base import Step
from .base import Variance


class FixedBeta(Variance):
    """At t = 1 v = beta_1, unless `ddpm_t1`: then beta_tilde_2, as DDPM's code has it (a worse L_0, for comparison)."""

    heads = 0

    def __init__(self, *, ddpm_t1: bool) -> None:
        self.ddpm_t1 = ddpm_t1

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        return torch.where(step.is_first & self.ddpm_t1, 0.0, step.log_ratio)
