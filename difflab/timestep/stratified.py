"""Systematic draws: one uniform number for a batch, spread evenly over 1..T (Kingma et al. 2021, appendix I.1)."""

from __future__ import annotations

import torch

from ..schedule.base import Schedule
from .base import OneTerm, Stateless, Times


class Stratified(OneTerm, Stateless):
    """t_i = floor(T ((u + i/B) mod 1)) + 1, permuted; every t has probability 1/T, batches cover the chain."""

    def __init__(self, schedule: Schedule) -> None:
        self.T = schedule.T

    def sample(self, batch: int, generator: torch.Generator) -> Times:
        u = torch.rand((), generator=generator, dtype=torch.float64)
        spread = (u + torch.arange(batch, dtype=torch.float64) / batch) % 1
        t = ((self.T * spread).floor().long() + 1).clamp(max=self.T)
        return Times(t[torch.randperm(batch, generator=generator)], torch.ones(batch, dtype=torch.float64))
