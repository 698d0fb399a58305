"""The exponential moving average of the weights, which is what every evaluation uses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def ema_of(model: Module, decay: float) -> AveragedModel:
    """torch's AveragedModel with a decay that warms up, min(decay, (1 + n) / (10 + n)), so that early weights fade."""

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            averaged, current, 1 - min(decay, (1 + n) / (10 + n))
        )

    ema = AveragedModel(model, multi_avg_fn=average)
    ema.requires_grad_(False)
    return ema.eval()
