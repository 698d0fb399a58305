"""Every t of every example."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Design, Plan, pairs


class Exhaustive(Design):
    """All T terms of each of N examples, `draws` times: N x T x draws network evaluations."""

    def __init__(
        self,
        *,
        examples: int | None,
        draws: int,
        target_se: float | None,
        clip_x0: bool,
        seed: int,
        batch_size: int,
    ) -> None:
        super().__init__(examples, draws, target_se, clip_x0, seed, batch_size)

    def plan(self, index: Tensor, T: int, first_draw: int = 0) -> Plan:
        example, draw = pairs(len(index), self.draws, first_draw)
        t = torch.arange(1, T + 1).repeat(len(example))
        weight = torch.full((t.numel(),), 1 / self.draws, dtype=torch.float64)
        return Plan(example.repeat_interleave(T), t, draw.repeat_interleave(T), weight)
