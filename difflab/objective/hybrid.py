"""L_simple + weight L_vlb with the mean detached in L_vlb (Nichol & Dhariwal 2021, eq. 16)."""

from __future__ import annotations

from torch import Tensor

from ..bound.terms import bound_term
from ..decoder.base import Decoder
from ..diffusion import Prediction
from ..errors import ConfigError
from ..gaussian import BITS
from ..schedule.base import Schedule
from .base import Loss, Objective, simple_loss


class Hybrid(Objective):
    """The mean learns from L_simple alone, the variance from the bound alone; L_vlb keeps its factor T.

    With a fixed variance the second term moves nothing and the objective is L_simple.
    """

    def __init__(self, decoder: Decoder, schedule: Schedule, *, vlb_weight: float) -> None:
        if not vlb_weight > 0:
            raise ConfigError(f"objective.vlb_weight={vlb_weight} must be positive; the paper's value is 0.001.")
        self.decoder, self.schedule, self.vlb_weight = decoder, schedule, vlb_weight

    def __call__(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Loss:
        nats = bound_term(self.decoder, prediction.with_detached_mean(), x0, eps).nats
        vlb = self.schedule.T * BITS.per_dim(nats, x0[0].numel())
        return Loss(simple_loss(prediction, x0, eps) + self.vlb_weight * vlb, nats.detach())
