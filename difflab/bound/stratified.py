"""The first terms in full, the rest by systematic draws of t."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Design, Plan, check_design
from .noise import key, uniform


class Stratified(Design):
    """t = 1..exact_steps of each example, where most of the bits lie, plus `times` systematic draws from the other t.

    The draws of one example share one keyed uniform number u: t_j = exact_steps + 1 + floor((T - exact_steps)(u + j)/times),
    each with weight (T - exact_steps) / times. Evaluates N x (exact_steps + times) x draws times; unbiased.
    """

    def __init__(
        self,
        *,
        examples: int | None,
        draws: int,
        times: int,
        exact_steps: int,
        clip_x0: bool,
        seed: int,
        batch_size: int,
    ) -> None:
        check_design(examples, draws, batch_size)
        if times < 1 or exact_steps < 0:
            raise ConfigError(f"bound.times={times} must be at least 1 and bound.exact_steps={exact_steps} at least 0.")
        self.examples, self.draws, self.clip_x0, self.seed, self.batch_size = examples, draws, clip_x0, seed, batch_size
        self.times, self.exact_steps = times, exact_steps

    def plan(self, index: Tensor, T: int) -> Plan:
        exact = min(self.exact_steps, T)
        rest = T - exact
        times = min(self.times, rest)  # as many draws as terms: every term once, exhaustive
        example, draw = (
            x.flatten() for x in torch.meshgrid(torch.arange(len(index)), torch.arange(self.draws), indexing="ij")
        )
        u = uniform(key(self.seed, index[example], draw, torch.full_like(draw, -1)))  # t = -1: no noise is keyed so
        drawn = exact + 1 + ((u[:, None] + torch.arange(times)) * (rest / max(times, 1))).floor().long()
        t = torch.cat([torch.arange(1, exact + 1).expand(len(u), exact), drawn.clamp(max=T)], dim=1)
        weight = torch.ones(exact + times, dtype=torch.float64) / self.draws
        weight[exact:] *= rest / max(times, 1)
        columns = exact + times
        return Plan(
            example[:, None].expand(-1, columns).flatten(),
            t.flatten(),
            draw[:, None].expand(-1, columns).flatten(),
            weight.expand(len(u), -1).flatten(),
        )
