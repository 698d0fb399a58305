"""The network predicts the posterior mean mu_tilde (Ho et al. 2020, eq. 7-8)."""

from __future__ import annotations

from ..schedule.base import Step
from .base import Coefficients, Parameterization


class Mu(Parameterization):
    def coefficients(self, step: Step) -> Coefficients:
        own = step.learned  # the network learned the mean of its own chain's step, wherever a sampler jumps to
        return Coefficients(own.s.alpha, own.ct * own.t.sigma, own.c0 * own.t.sigma)
