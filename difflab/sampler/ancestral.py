"""x_s ~ p(x_s|x_t), the model's own chain (Ho et al. 2020, algorithm 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion import Prediction
from .base import Sampler


class Ancestral(Sampler):
    def __init__(self, *, steps: int | str | None, count: int, clip_x0: bool) -> None:
        super().__init__(steps, count, clip_x0)

    def reverse(self, prediction: Prediction, z: Tensor) -> Tensor:
        mean, log_var = prediction.gaussian()
        return mean + torch.exp(0.5 * log_var) * z
