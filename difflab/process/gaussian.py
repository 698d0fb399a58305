"""The Gaussian process of DDPM (Ho et al. 2020, eq. 2-7): the known distribution is N(0, I)."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import gaussian
from ..gaussian import expand, expm1_minus, per_example
from ..schedule.base import Level, Step
from .base import Process


class Gaussian(Process):
    """x_t = alpha x_0 + sigma eps, written on levels of log-SNR (theory: one object, the step between two levels)."""

    def marginal(self, x0: Tensor, level: Level) -> gaussian.Gaussian:
        return gaussian.Gaussian(expand(level.alpha, x0) * x0, expand(level.log_var, x0))

    def noised(self, x0: Tensor, level: Level, eps: Tensor) -> Tensor:
        return expand(level.alpha, x0) * x0 + expand(level.sigma, x0) * eps

    def step(self, x_s: Tensor, step: Step) -> gaussian.Gaussian:
        return gaussian.Gaussian(expand(step.t.alpha / step.s.alpha, x_s) * x_s, expand(step.log_beta, x_s))

    def posterior(self, x0: Tensor, x_t: Tensor, step: Step) -> gaussian.Gaussian:
        mean = expand(step.c0, x0) * x0 + expand(step.ct, x0) * x_t
        return gaussian.Gaussian(mean, expand(step.log_beta_tilde, x0))

    def prior_kl(self, x0: Tensor, level: Level) -> Tensor:
        # 1/2 [sigma^2 - 1 - log sigma^2] per dimension + 1/2 alpha^2 x0^2: both parts small, neither cancels
        dims = x0[0].numel()
        variance = 0.5 * dims * expm1_minus(level.log_var).to(x0.device, x0.dtype)
        mean = 0.5 * per_example((expand(level.alpha, x0) * x0).square())
        return mean + variance

    def prior_sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator)
