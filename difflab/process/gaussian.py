"""The Gaussian process of DDPM (Ho et al. 2020, eq. 2-7): the known distribution is N(0, I)."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import gaussian
from ..gaussian import expand, expm1_minus, per_example
from ..parameterization.base import Parameterization
from ..prediction import Prediction
from ..schedule.base import Level, Schedule, Step
from ..variance.base import Variance
from .base import Process


class Gaussian(Process):
    """x_t = alpha x_0 + sigma eps, written on levels of log-SNR (theory: one object, the step between two levels)."""

    family = "gaussian"
    priced = True

    def marginal(self, x0: Tensor, level: Level) -> gaussian.Gaussian:
        return gaussian.Gaussian(expand(level.alpha, x0) * x0, expand(level.log_var, x0))

    def noised(self, x0: Tensor, level: Level, eps: Tensor) -> Tensor:
        return expand(level.alpha, x0) * x0 + expand(level.sigma, x0) * eps

    def carried(self, eps: Tensor, step: Step, z: Tensor) -> Tensor:
        # x_t = (alpha_t/alpha_s) x_s + sqrt(beta) z with alpha_t x_0 taken off and divided by sigma_t; 1 - c = SNR_t/SNR_s
        return expand((1 - step.c).sqrt(), eps) * eps + expand(step.c.sqrt(), z) * z

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

    def check(self, schedule: Schedule) -> None:
        """Any chain will do: L_T says what it costs."""

    def seen_as(self, shape: tuple[int, ...], levels: int | None) -> tuple[tuple[int, ...], int | None]:
        return shape, levels

    def seen(self, x_t: Tensor) -> Tensor:
        return x_t

    def visible(self, x_t: Tensor) -> Tensor:
        return x_t

    def read(
        self, raw: Tensor, x_t: Tensor, step: Step, parameterization: Parameterization, variance: Variance
    ) -> Prediction:
        y, output = raw.chunk(2, dim=1) if variance.heads else (raw, None)
        excess = variance.excess(output, step)
        excess = excess if output is not None else excess.reshape(-1, *[1] * (x_t.dim() - 1))
        return Prediction(y, excess, x_t, step, parameterization.coefficients(step))
