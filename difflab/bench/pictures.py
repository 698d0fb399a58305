"""Noise for measuring speed: a data set of any shape, the same for every contender. Speed does not depend on the values."""

from __future__ import annotations

import torch

from ..data.base import Pictures, Split

LEVELS = 256


class Noise(Pictures):
    """uint8 [count, C, H, W], uniform on 256 levels; the three splits are the same."""

    def __init__(self, *, shape: list[int], count: int) -> None:
        x = torch.randint(0, LEVELS, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        splits = {
            name: Split(name, x, torch.zeros(count, dtype=torch.int64), torch.arange(count))
            for name in ("train", "val", "test")
        }
        super().__init__(tuple(shape), LEVELS, limit=None, **splits)

    @property
    def source(self) -> str:
        return "Uniform noise: for measuring speed."
