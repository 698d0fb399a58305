"""L_simple of DDPM (Ho et al. 2020, eq. 14): the unweighted error of the network's own target."""

from __future__ import annotations

from torch import Tensor

from ..decoder.base import Decoder
from ..prediction import Prediction
from ..schedule.base import Schedule
from ..variance.base import Variance
from ._surrogate import Surrogate, check_learns_variance, simple_loss


class Simple(Surrogate):
    def __init__(self, decoder: Decoder, schedule: Schedule, variance: Variance) -> None:
        check_learns_variance("objective=simple", "objective=hybrid", variance.heads)
        super().__init__(decoder, schedule, vlb_weight=0.0)

    def mean_loss(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
        return simple_loss(prediction, x0, eps)
