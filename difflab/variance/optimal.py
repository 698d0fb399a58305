"""The best isotropic variance of each step for the network's own mean (Bao et al. 2022, Analytic-DPM), fitted as it learns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..schedule.base import Schedule, Step
from . import _optimal
from .base import Fitted

FAR = 1e6  # log SNR of clean data and of pure noise, of whose infinities no checkpoint can be made


class Optimal(nn.Module, Fitted):
    """v*_t = beta_tilde + E||mu_tilde - m||^2 / dims, the minimum of the expected KL, on training examples with the averaged
    weights (unclipped mean); at t = 1 the v that minimises L_0.

    It is fitted anew at every validation and before the last checkpoint (task/train.py, the design bound@fit) and stored
    with the weights; between two fits the mean is trained under the last one. Until the first it is what data N(0, I) has,
    v* = beta. No gradient reaches it.
    """

    heads = 0
    log_snr: Tensor
    mse_x0: Tensor
    first: Tensor

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        with torch.no_grad():
            beta_1 = schedule.step(torch.ones(1, dtype=torch.int64)).log_beta[0]
            log_snr = schedule.log_snr.detach().clamp(-FAR, FAR)
            mse_x0 = torch.sigmoid(-log_snr)  # sigma^2, that of N(0, I)
        for name, value in (("log_snr", log_snr), ("mse_x0", mse_x0), ("first", beta_1.clone())):
            self.register_buffer(name, value)

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> Optimal:
        return self  # coefficients are float64 on the CPU wherever the network is (schedule/base.py)

    def take(self, log_snr: Tensor, mse_x0: Tensor, first: float) -> None:
        if bool(mse_x0.isfinite().all()):  # a network that diverged teaches nothing
            self.log_snr.copy_(log_snr.clamp(-FAR, FAR))
            self.mse_x0.copy_(mse_x0)
            self.first.fill_(first)

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        return _optimal.Optimal(self.log_snr, self.mse_x0, self.first).excess(output, step)
