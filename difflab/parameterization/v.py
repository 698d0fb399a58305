"""The network predicts v = alpha eps - sigma x_0 (Salimans & Ho 2022), well scaled at both ends."""

from __future__ import annotations

import torch

from ..schedule.base import Step
from .base import Coefficients, Parameterization


class V(Parameterization):
    def coefficients(self, step: Step) -> Coefficients:
        return Coefficients(-step.t.sigma, step.t.alpha, -torch.ones_like(step.t.alpha))
