"""The bound itself: T L_{t-1} in bits/dim (t = 1: L_0), unbiased for L - L_T once weighted by 1 / (T p_t)."""

from __future__ import annotations

from torch import Tensor

from ..bound.terms import bound_term
from ..decoder.base import Decoder
from ..gaussian import BITS
from ..prediction import Reading
from ..schedule.base import Schedule
from .base import Loss, Objective


class Vlb(Objective):
    """Full gradient to the mean and the variance."""

    serves = ("gaussian", "states")

    def __init__(self, decoder: Decoder, schedule: Schedule) -> None:
        self.decoder, self.schedule = decoder, schedule

    def __call__(self, prediction: Reading, x0: Tensor, eps: Tensor) -> Loss:
        nats = bound_term(self.decoder, prediction, x0, eps).nats
        return Loss(self.schedule.T * BITS.per_dim(nats, x0[0].numel()), nats.detach())
