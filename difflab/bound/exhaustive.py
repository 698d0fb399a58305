"""Every t of every example."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Design, Plan, check_design


class Exhaustive(Design):
    """All T terms of each of N examples, `draws` times: N x T x draws network evaluations."""

    def __init__(self, *, examples: int | None, draws: int, clip_x0: bool, seed: int, batch_size: int) -> None:
        check_design(examples, draws, batch_size)
        self.examples, self.draws, self.clip_x0, self.seed, self.batch_size = examples, draws, clip_x0, seed, batch_size

    def plan(self, index: Tensor, T: int) -> Plan:
        example, t, draw = torch.meshgrid(
            torch.arange(len(index)), torch.arange(1, T + 1), torch.arange(self.draws), indexing="ij"
        )
        weight = torch.full((t.numel(),), 1 / self.draws, dtype=torch.float64)
        return Plan(example.flatten(), t.flatten(), draw.flatten(), weight)
