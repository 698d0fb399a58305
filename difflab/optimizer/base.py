"""An optimizer of torch plus one learning-rate curve: linear warm-up, then decay over the rest of the budget."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch.nn import Parameter

from ..errors import ConfigError

DECAYS = {  # factor of the learning rate at progress 0..1 through the training budget
    "none": lambda progress: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
}


def two_betas(betas: list[float]) -> tuple[float, float]:
    """Adam's two decay rates; ConfigError unless they are two numbers of [0, 1)."""
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ConfigError(
            f"optimizer.betas={betas} must be two numbers of at least 0 and below 1, such as [0.9,0.999]."
        )
    return betas[0], betas[1]


class Optimizer(ABC):
    """lr after warm-up; warm-up in steps; decay: a name in DECAYS."""

    def __init__(self, lr: float, warmup_steps: int, decay: str) -> None:
        if not 0 < lr < math.inf:
            raise ConfigError(f"optimizer.lr={lr} must be a positive number; 1e-3 is a good start.")
        if warmup_steps < 0:
            raise ConfigError(f"optimizer.warmup_steps={warmup_steps} must be at least 0.")
        if decay not in DECAYS:
            raise ConfigError(f"optimizer.decay={decay} is not one of {', '.join(DECAYS)}.")
        self.lr, self.warmup_steps, self.decay = lr, warmup_steps, DECAYS[decay]

    @abstractmethod
    def create(self, params: Iterable[Parameter]) -> torch.optim.Optimizer: ...

    def lr_at(self, step: int, progress: float) -> float:
        """Learning rate of step 1, 2, ... at a share 0..1 of the budget."""
        return self.lr * min(1.0, step / max(self.warmup_steps, 1)) * self.decay(min(max(progress, 0.0), 1.0))
