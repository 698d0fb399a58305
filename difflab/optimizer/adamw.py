"""AdamW (Loshchilov & Hutter 2019): Adam with decoupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter

from ..errors import ConfigError
from .base import Optimizer, two_betas


class Adamw(Optimizer):
    """Decay acts on matrices and kernels only, not on biases and norms."""

    def __init__(self, *, lr: float, warmup_steps: int, decay: str, betas: list[float], weight_decay: float) -> None:
        super().__init__(lr, warmup_steps, decay)
        if not 0 <= weight_decay < math.inf:
            raise ConfigError(f"optimizer.weight_decay={weight_decay} must be at least 0.")
        self.betas, self.weight_decay = two_betas(betas), weight_decay

    def create(self, params: Iterable[Parameter]) -> torch.optim.Optimizer:
        params = list(params)
        groups = [
            {"params": [p for p in params if p.dim() > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in params if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas)
