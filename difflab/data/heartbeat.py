"""The binary heartbeat of Sohl-Dickstein et al. (2015): a beat in every fifth bin, at an unknown phase."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Data, Null, draw_splits, grey

ROWS = 32  # sequences in a column of the picture of samples
THICK = 3  # bins' height in units of their width, there


class Heartbeat(Data):
    """Sequences [length] of bins 0 or 1, a 1 in every `period`-th, the phase uniform: `period` sequences and no others, so
    the entropy is log2(period) bits for each; a label is the phase.

    Null model: independent Bernoulli(1 / period), length H2(1 / period) bits (14.439 of 20 bins at period 5). Raises
    ConfigError for values out of range.
    """

    def __init__(
        self,
        *,
        length: int,
        period: int,
        train_size: int,
        val_size: int,
        test_size: int,
        draw_seed: int,
        limit: int | None,
    ) -> None:
        if not 2 <= length <= 4096:
            raise ConfigError(f"data.length={length} is out of range: give a sequence's number of bins, 2 to 4096.")
        if not 2 <= period <= length:
            raise ConfigError(
                f"data.period={period} is out of range: give 2 to data.length={length} bins, so that every sequence has a "
                "beat and there are several."
            )
        self.length, self.period = length, period
        rate = 1 / period
        self._null_bits = -length * (rate * math.log2(rate) + (1 - rate) * math.log2(1 - rate))
        self.null = Null(-self._null_bits, "sequence", length, None)
        sizes = {"train": train_size, "val": val_size, "test": test_size}
        super().__init__((length,), 2, limit=limit, **draw_splits(sizes, draw_seed, self.draw))

    @property
    def source(self) -> str:
        return f"Draws of a beat in every {self.period} of {self.length} bins, phase uniform, after Sohl-Dickstein et al. 2015."

    def draw(self, count: int, seed: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(x uint8 [count, length], phase int64 [count]) by numpy's RandomState, whose streams are frozen (NEP 19)."""
        uniform = np.random.RandomState(seed).random_sample(count)  # not randint: a longer set continues a shorter one
        phase = torch.from_numpy((uniform * self.period).astype(np.int64))
        return (torch.arange(self.length) % self.period == phase[:, None]).to(torch.uint8), phase

    def floors(self) -> dict[str, float]:
        """Bits/dim of the law, not of a split: "uniform", "independent Bernoulli", "entropy"."""
        bits = {
            "uniform": self.length,
            "independent Bernoulli": self._null_bits,
            "entropy": math.log2(self.period),
        }
        return {name: value / self.length for name, value in bits.items()}

    def show(self, x0: Tensor, path: Path, columns: int | None = None) -> Path:
        """One sequence a row, ROWS below each other, as a PNG; values between the two levels are grey."""
        from ..figure.sample import sample_grid

        bins = grey(x0)[:, None, None].repeat_interleave(THICK, 2)
        return sample_grid(bins, path.with_name(f"{path.name}.png"), columns or math.ceil(len(x0) / ROWS))
