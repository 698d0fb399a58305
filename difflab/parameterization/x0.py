"""The network predicts the clean data; of states, their probabilities."""

from __future__ import annotations

import torch

from ..schedule.base import Step
from .base import Coefficients, Parameterization


class X0(Parameterization):
    serves = ("gaussian", "states")

    def coefficients(self, step: Step) -> Coefficients:
        one = torch.ones_like(step.t.alpha)
        return Coefficients(one, one - 1, step.t.sigma)
