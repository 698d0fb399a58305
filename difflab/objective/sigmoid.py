"""The bound with noise levels weighed by sigmoid(bias - log SNR) (Kingma & Gao 2023, arXiv 2303.00848)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..decoder.base import Decoder
from ..errors import ConfigError
from ..gaussian import BITS
from ..prediction import Prediction
from ..schedule.base import Schedule, Step
from ..variance.base import Variance
from ._surrogate import Surrogate, check_vlb_weight, weighted_loss


class Sigmoid(Surrogate):
    """1/2 int sigmoid(bias - l) ||eps - eps_hat||^2 dl over log SNR, in bits/dim, on the steps of this chain.

    A weight that falls with the SNR is the bound of data with Gaussian noise added: details finer than log SNR = bias
    count less. The interval of each step is integrated exactly with its own error of x0, as the bound does with
    v = beta_tilde: ||x_0 - x0_hat||^2 times

        1/2 int sigmoid(bias - l) e^l dl  =  1/2 e^bias [softplus(log_snr_s - bias) - softplus(log_snr_t - bias)]

    which tends to 1/2 (SNR_s - SNR_t) as the bias grows and is finite where SNR_t = 0. The schedule drops out: only where
    it ends and how finely it steps is left. At t = 1, where SNR_s is infinite, the interval is as wide as the next one. In
    continuous time the integrand is taken where the level was drawn.
    """

    def __init__(
        self, decoder: Decoder, schedule: Schedule, variance: Variance, *, bias: float, vlb_weight: float
    ) -> None:
        if not abs(bias) <= 100:
            raise ConfigError(f"objective.bias={bias} is a log SNR and must lie in -100..100; 2 is the paper's value.")
        check_vlb_weight(vlb_weight, variance.heads)
        super().__init__(decoder, schedule, vlb_weight)
        self.bias = bias

    def mean_loss(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
        return weighted_loss(self.log_weight(prediction.step), prediction, x0, eps)

    def log_weight(self, step: Step) -> Tensor:
        """Of the mean squared error of x0, in T times bits/dim; float64 [B]."""
        table = self.schedule.log_snr
        next_width = table[1] - table[2] if self.schedule.T > 1 else torch.ones_like(table[0])
        here = step.t.log_snr
        first = self._softplus(here + next_width) - self._softplus(here)
        mass = torch.where(
            step.is_first, first, step.integral(self._softplus, lambda at: torch.sigmoid(at - self.bias))
        )
        return self.bias + torch.log(mass) + math.log(0.5 * self.schedule.T / BITS.nats)

    def _softplus(self, log_snr: Tensor) -> Tensor:
        """The primitive of sigmoid(bias - l) e^(l - bias) = sigmoid(l - bias)."""
        return torch.logaddexp(torch.zeros_like(log_snr), log_snr - self.bias)
