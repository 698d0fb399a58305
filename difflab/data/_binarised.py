"""One bit for each pixel of a set of grey pictures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Pictures, Split, check_draw_seed

Binarise = Callable[[Tensor, tuple[int, int]], Tensor]  # (uint8 [N, ...] 0..255, seed of the split) -> bool


class Binarised(Pictures):
    """The splits, labels and indices of `grey` (256 levels), its pixels 0 or 1, drawn once and for all.

    method: "stochastic", 1 with probability grey / 255 (the static binarisation of Salakhutdinov & Murray 2008; theirs is
    a file of one such draw, ours is another, so figures agree in the mean and not to the last digit); "threshold", 1
    where grey / 255 > threshold. Raises ConfigError for values out of range.
    """

    example = "picture"

    def __init__(self, grey: Pictures, *, method: str, threshold: float, draw_seed: int, limit: int | None) -> None:
        if not 0 <= threshold < 1:
            raise ConfigError(f"data.threshold={threshold} is out of range: give 0 or more and less than 1, white.")
        check_draw_seed(draw_seed)
        methods: dict[str, tuple[Binarise, str]] = {
            "stochastic": (_drawn, f"1 with probability grey / 255, drawn here (data.draw_seed={draw_seed})"),
            "threshold": (lambda x, seed: x > math.floor(255 * threshold), f"1 where grey / 255 > {threshold}"),
        }
        if method not in methods:
            raise ConfigError(f"data.method={method} is not allowed: give {' or '.join(methods)}.")
        binarise, self._how = methods[method]
        self._grey = grey.source
        splits = {}
        for number, split in enumerate((grey.train, grey.val, grey.test)):
            x = binarise(split.x[torch.arange(len(split))], (draw_seed, number)).to(torch.uint8)
            splits[split.name] = Split(split.name, x, split.label, split.index)
        super().__init__(grey.shape, 2, limit=limit, **splits)

    @property
    def source(self) -> str:
        return f"{self._grey.removesuffix('.')}; one bit a pixel, {self._how}."


def _drawn(x: Tensor, seed: tuple[int, int]) -> Tensor:
    """One of 255 equally likely values below the grey value: P = grey / 255, exactly; by a frozen stream (NEP 19)."""
    return x > torch.from_numpy(np.random.RandomState(seed).randint(0, 255, tuple(x.shape), np.uint8))
