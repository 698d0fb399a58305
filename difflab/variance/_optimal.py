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

    def __init__(self, log_snr: Tensor, mse_x0: Tensor, first: Tensor | float) -> None:
        self.log_snr, self.mse_x0, self.first = log_snr, mse_x0, first

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        s = torch.where(step.is_first, step.t.log_snr, step.s.log_snr)  # not computed, then masked: inf has no gradient
        jump = -torch.exp(s) * torch.expm1(step.t.log_snr - s)  # SNR_s - SNR_t
        best = torch.log1p(jump * self.mse_at(step.t.log_snr))
        return torch.where(step.is_first, self.first - step.first_log_var, best)

    def mse_at(self, log_snr: Tensor) -> Tensor:
        """Exact at the levels of the fit, linear in log SNR between them (a schedule that learns has moved on)."""
        level = torch.searchsorted(-self.log_snr, -log_snr.detach()).clamp(1, len(self.mse_x0) - 1)
        before = (level - 1).clamp(min=1)
        low, high = self.log_snr[level], self.log_snr[before]
        between = (log_snr >= low) & (low < high) & log_snr.isfinite()
        share = (high - torch.where(between, log_snr, high)) / torch.where(between, high - low, 1.0)
        share = torch.where(between, share, 1.0)  # as at the level itself
        return (1 - share) * self.mse_x0[before] + share * self.mse_x0[level]
