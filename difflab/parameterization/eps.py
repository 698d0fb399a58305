"""The network predicts the noise (Ho et al. 2020, eq. 12)."""

from __future__ import annotations

import torch

from ..schedule.base import Step
from .base import Coefficients, Parameterization


class Eps(Parameterization):
    def coefficients(self, step: Step) -> Coefficients:
        zero = torch.zeros_like(step.t.alpha)
        return Coefficients(zero, zero + 1, -step.t.alpha)
