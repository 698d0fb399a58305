"""x_s ~ p(x_s|x_t), the model's own chain (Ho et al. 2020, algorithm 2)."""

from __future__ import annotations

from torch import Tensor

from ..prediction import Reading
from .base import Sampler


class Ancestral(Sampler):
    serves = ("gaussian", "states")

    def __init__(self, *, steps: int | str | None, count: int, clip_x0: bool, guidance: float) -> None:
        super().__init__(steps, count, clip_x0, guidance)

    def reverse(self, prediction: Reading, z: Tensor) -> Tensor:
        return prediction.draw(z)
