"""Left and right exchanged (Ho et al. 2020, appendix B: used for all sets but LSUN Bedroom)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Augmentation, check_pictures


class Flip(Augmentation):
    """Of each example, with this `probability`."""

    numbers = 1

    def __init__(self, shape: tuple[int, ...], *, probability: float) -> None:
        check_pictures("flip", shape)
        if not 0 < probability < 1:
            raise ConfigError(
                f"augmentation.probability={probability} must lie between 0 and 1; set augmentation=none to flip nothing."
            )
        self.probability = probability

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        return torch.where((u < self.probability)[:, :, None, None], x.flip(-1), x)
