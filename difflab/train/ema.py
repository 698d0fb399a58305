"""The exponential moving average of the weights, which is what every evaluation uses."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """A model whose weights follow another's, with a decay that warms up, min(decay, (1 + n) / (10 + n)), so that early
    weights fade. (torch's AveragedModel counts on the device, and reads that back in every step.)"""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.module, self.decay = copy.deepcopy(model).requires_grad_(False), decay
        self.eval()

    def forward(self, *inputs: Tensor | None) -> Tensor:
        return self.module(*inputs)

    @torch.no_grad()
    def update(self, model: nn.Module, n: int) -> None:
        """Take in the model's weights; `n`: how often that was done before, the first time they are copied."""
        weight = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            list(self.module.parameters()), list(model.parameters()), weight
        )
