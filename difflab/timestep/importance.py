"""Loss-second-moment sampling (Nichol & Dhariwal 2021, eq. 18): p_t ~ sqrt(E[loss_t^2])."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ConfigError
from ..schedule.base import Schedule
from .base import OneTerm, Times


class Importance(OneTerm):
    """Keeps the last `history` losses of every t; uniform until each t has that many, then mixed with `uniform_mix`."""

    def __init__(self, schedule: Schedule, *, history: int, uniform_mix: float) -> None:
        if history < 1:
            raise ConfigError(f"timestep.history={history} must be at least 1; the paper's value is 10.")
        if not 0 < uniform_mix <= 1:
            raise ConfigError(
                f"timestep.uniform_mix={uniform_mix} must lie in (0, 1], or some t could never be drawn again; 0.001 is usual."
            )
        self.T, self.uniform_mix = schedule.T, uniform_mix
        self.losses = torch.zeros(self.T, history, dtype=torch.float64)
        self.count = torch.zeros(self.T, dtype=torch.int64)  # losses ever seen at each t

    @property
    def probabilities(self) -> Tensor:
        """p_t for t = 1..T, float64."""
        uniform = torch.full((self.T,), 1 / self.T, dtype=torch.float64)
        if bool((self.count < self.losses.shape[1]).any()):
            return uniform
        p = self.losses.square().mean(1).sqrt()
        total = p.sum()
        return torch.lerp(p / total, uniform, self.uniform_mix) if total > 0 else uniform

    def sample(self, batch: int, generator: torch.Generator) -> Times:
        p = self.probabilities
        t0 = torch.multinomial(p, batch, replacement=True, generator=generator)
        return Times(t0 + 1, 1 / (self.T * p[t0]))

    def observe(self, t: Tensor, loss: Tensor) -> None:
        loss = loss.detach().double().cpu()
        for t0, value in zip((t - 1).tolist(), loss.tolist(), strict=True):
            if math.isfinite(value):  # one overflow must not fix all attention on its t
                self.losses[t0, int(self.count[t0]) % self.losses.shape[1]] = value
                self.count[t0] += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"losses": self.losses, "count": self.count}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.losses.copy_(state["losses"])
        self.count.copy_(state["count"])
