"""The bound itself: T L_{t-1} in bits/dim (t = 1: L_0), unbiased for L - L_T once weighted by 1 / (T p_t)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..bound.terms import bound_term
from ..decoder.base import Decoder
from ..gaussian import BITS
from ..learned import learns
from ..prediction import Reading
from ..process.base import Process
from ..schedule.base import Schedule
from .base import Loss, Objective


class Vlb(Objective):
    """Full gradient to the mean, the variance and all else that learns: to a schedule, which needs `process`, also L_T's."""

    serves = ("gaussian", "states")

    def __init__(self, decoder: Decoder, schedule: Schedule, process: Process | None = None) -> None:
        self.decoder, self.schedule, self.process = decoder, schedule, process

    def __call__(self, prediction: Reading, x0: Tensor, eps: Tensor) -> Loss:
        nats, dims = bound_term(self.decoder, prediction, x0, eps).nats, x0[0].numel()
        loss = self.schedule.T * BITS.per_dim(nats, dims)
        if not learns(self.schedule):
            return Loss(loss, nats.detach())
        prediction.step.hear(loss)
        assert self.process
        top = self.schedule.level(torch.full((len(x0),), self.schedule.T))
        return Loss(loss, nats.detach(), BITS.per_dim(self.process.prior_kl(x0, top), dims))
