"""The network predicts the posterior mean mu_tilde (Ho et al. 2020, eq. 7-8)."""

from __future__ import annotations

from ..schedule.base import Step
from .base import Coefficients, Parameterization


class Mu(Parameterization):
    def coefficients(self, step: Step) -> Coefficients:
        return Coefficients(step.s.alpha, step.ct * step.t.sigma, step.c0 * step.t.sigma)
