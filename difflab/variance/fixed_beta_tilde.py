"""v = beta_tilde: the posterior's variance, optimal where the data is a single point (Ho et al. 2020, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedule.base import Step
from .base import Variance


class FixedBetaTilde(Variance):
    heads = 0

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        return torch.zeros_like(step.log_ratio)
