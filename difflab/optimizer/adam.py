"""Adam (Kingma & Ba 2015), as DDPM trains."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import Parameter

from .base import Optimizer, two_betas


class Adam(Optimizer):
    def __init__(self, *, lr: float, warmup_steps: int, decay: str, betas: list[float]) -> None:
        super().__init__(lr, warmup_steps, decay)
        self.betas = two_betas(betas)

    def create(self, params: Iterable[Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, lr=self.lr, betas=self.betas)
