"""Moved by a few pixels, up or down and left or right; what comes in repeats the border."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Augmentation, check_pictures


class Shift(Augmentation):
    """By any whole number of at most `pixels` along each axis, all alike."""

    numbers = 2

    def __init__(self, shape: tuple[int, ...], *, pixels: int) -> None:
        check_pictures("shift", shape)
        most = min(shape[1:]) - 1
        if not 1 <= pixels <= most:
            raise ConfigError(
                f"augmentation.pixels={pixels} must be 1..{most} for data of shape {list(shape)}; set augmentation=none to move nothing."
            )
        self.pixels = pixels

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        by = (u * (2 * self.pixels + 1)).long() - self.pixels
        row, column = (
            (torch.arange(size, device=x.device) + offset[:, None]).clamp(0, size - 1)
            for size, offset in zip(x.shape[2:], by.unbind(1), strict=True)
        )
        example = torch.arange(len(x), device=x.device)[:, None, None]
        return x.movedim(1, -1)[example, row[:, :, None], column[:, None]].movedim(-1, 1)
