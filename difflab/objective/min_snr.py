"""Min-SNR-gamma (Hang et al. 2023, arXiv 2303.09556): the error of x0 weighs min(SNR, gamma)."""

from __future__ import annotations

import math

from torch import Tensor

from ..decoder.base import Decoder
from ..errors import ConfigError
from ..prediction import Prediction
from ..schedule.base import Schedule
from ..variance.base import Variance
from ._surrogate import Surrogate, check_vlb_weight, weighted_loss


class MinSnr(Surrogate):
    """min(SNR, gamma) ||x_0 - x0_hat||^2 whatever the network predicts: min(SNR, gamma) / SNR on the error of eps and
    min(SNR, gamma) / (SNR + 1) on that of v, as published. At a terminal SNR of 0 the weight is 0: nothing is learned there.
    """

    def __init__(
        self, decoder: Decoder, schedule: Schedule, variance: Variance, *, gamma: float, vlb_weight: float
    ) -> None:
        if not gamma > 0:
            raise ConfigError(f"objective.gamma={gamma} must be positive; the paper's value is 5.")
        check_vlb_weight(vlb_weight, variance.heads)
        super().__init__(decoder, schedule, vlb_weight)
        self.gamma = gamma

    def mean_loss(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
        log_weight = prediction.step.t.log_snr.clamp(max=math.log(self.gamma))
        return weighted_loss(log_weight, prediction, x0, eps)
