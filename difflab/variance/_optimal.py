"""The isotropic variance of each step that is best for a given mean (Bao et al. 2022, Analytic-DPM)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schedule.base import Step
from .base import Variance


class Optimal(Variance):
    """v*_t = beta_tilde + E||mu_tilde - m||^2 / dims = beta_tilde (1 + (SNR_s - SNR_t) E||x_0 - x0_hat||^2 / dims).

    log_snr, mse_x0: [T + 1] float64, the mean squared error of x0_hat per dimension at each level t of the chain it was
    fitted on; a step may jump between any two of these levels. first: log v at t = 1.
    """

    heads = 0

    def __init__(self, log_snr: Tensor, mse_x0: Tensor, first: float) -> None:
        self.log_snr, self.mse_x0, self.first = log_snr, mse_x0, first

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        level = torch.searchsorted(-self.log_snr, -step.t.log_snr).clamp(max=len(self.mse_x0) - 1)
        jump = torch.exp(step.s.log_snr) * step.c  # SNR_s - SNR_t
        return torch.where(step.is_first, self.first - step.first_log_var, torch.log1p(jump * self.mse_x0[level]))
