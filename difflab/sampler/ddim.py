"""Song et al. 2021 (DDIM), eq. 12: the same marginals with less noise in each step, none at eta = 0."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError
from ..gaussian import expand
from ..prediction import Prediction
from .base import Sampler


class Ddim(Sampler):
    """x_s = alpha_s x0_hat + sqrt(sigma_s^2 - eta^2 beta_tilde) eps_hat + eta sqrt(beta_tilde) z."""

    def __init__(self, *, steps: int | str | None, count: int, clip_x0: bool, guidance: float, eta: float) -> None:
        super().__init__(steps, count, clip_x0, guidance)
        if not 0 <= eta <= 1:
            raise ConfigError(f"sampler.eta={eta} must lie in 0..1: 0 is deterministic, 1 adds the posterior's noise.")
        self.eta = eta

    def reverse(self, prediction: Prediction, z: Tensor) -> Tensor:
        step = prediction.step
        added = self.eta**2 * torch.exp(step.log_beta_tilde)
        kept = (torch.exp(step.s.log_var) - added).clamp(min=0)
        x0 = prediction.x0_hat()
        # eps_hat goes with the (possibly clipped) x0_hat, so that x_t = alpha x0_hat + sigma eps_hat still holds
        eps = (prediction.x_t - expand(step.t.alpha, x0) * x0) / expand(step.t.sigma, x0)
        return expand(step.s.alpha, x0) * x0 + expand(kept.sqrt(), x0) * eps + expand(added.sqrt(), x0) * z
