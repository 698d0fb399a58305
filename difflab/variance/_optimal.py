"""The isotropic variance of each step that is best for a given mean (Bao et al. 2022, Analytic-DPM)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedule.base import Step
from .base import Variance


class Optimal(Variance):
    """v*_t = beta_tilde + E||mu_tilde - m||^2 / dims = beta_tilde (1 + (SNR_s - SNR_t) E||x_0 - x0_hat||^2 / dims).

    log_snr, mse_eps: [T + 1] float64, SNR_t times the mean squared error of x0_hat at each level t of the chain it was
    fitted on; a step may jump between any two of these levels. first: log v at t = 1.
    """

    heads = 0

    def __init__(self, log_snr: Tensor, mse_eps: Tensor, first: float) -> None:
        self.log_snr, self.mse_eps, self.first = log_snr, mse_eps, first

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        level = torch.searchsorted(-self.log_snr, -step.t.log_snr).clamp(max=len(self.mse_eps) - 1)
        jump = torch.expm1(step.s.log_snr - step.t.log_snr)  # SNR_s / SNR_t - 1
        return torch.where(step.is_first, self.first - step.first_log_var, torch.log1p(jump * self.mse_eps[level]))
