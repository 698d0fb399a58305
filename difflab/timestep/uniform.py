"""Each t with probability 1/T, independently."""

from __future__ import annotations

import torch

from ..schedule.base import Schedule
from .base import OneTerm, Stateless, Times


class Uniform(OneTerm, Stateless):
    def __init__(self, schedule: Schedule) -> None:
        self.T = schedule.T

    def sample(self, batch: int, generator: torch.Generator) -> Times:
        t = torch.randint(1, self.T + 1, (batch,), generator=generator)
        return Times(t, torch.ones(batch, dtype=torch.float64))
