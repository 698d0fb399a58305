"""P2 weighting (Choi et al. 2022, arXiv 2204.00227): the error of eps weighs 1 / (k + SNR)^gamma."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..decoder.base import Decoder
from ..errors import ConfigError
from ..prediction import Prediction
from ..schedule.base import Schedule
from ..variance.base import Variance
from ._surrogate import Surrogate, check_vlb_weight, weighted_loss


class P2(Surrogate):
    """SNR / (k + SNR)^gamma on the error of x0, whatever the network predicts. gamma = 0 is L_simple of an eps network.

    At a terminal SNR of 0 the weight is 0: nothing is learned there.
    """

    def __init__(
        self, decoder: Decoder, schedule: Schedule, variance: Variance, *, k: float, gamma: float, vlb_weight: float
    ) -> None:
        if not k > 0:
            raise ConfigError(
                f"objective.k={k} must be positive, or pure noise weighs infinitely much; the paper has 1."
            )
        if not gamma >= 0:
            raise ConfigError(f"objective.gamma={gamma} must be at least 0; the paper has 1, or 0.5 for less of it.")
        check_vlb_weight(vlb_weight, variance.heads)
        super().__init__(decoder, schedule, vlb_weight)
        self.k, self.gamma = k, gamma

    def mean_loss(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
        log_snr = prediction.step.t.log_snr
        log_k = torch.full_like(log_snr, math.log(self.k))
        return weighted_loss(log_snr - self.gamma * torch.logaddexp(log_k, log_snr), prediction, x0, eps)
