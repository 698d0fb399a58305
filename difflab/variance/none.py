"""Steps between states have no variance: process=binomial, categorical, absorbing."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedule.base import Step
from .base import Variance


class NoVariance(Variance):
    heads = 0
    serves = ("states",)

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        return torch.zeros_like(step.log_ratio)
