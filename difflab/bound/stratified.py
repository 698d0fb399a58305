"""The first terms in full, the rest by systematic draws of t."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Design, Plan, pairs
from .noise import key, uniform

KEYED = -1  # the word in place of t that keys the draw of t itself: no noise is keyed so


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
        target_se: float | None,
        clip_x0: bool,
        seed: int,
        batch_size: int,
    ) -> None:
        super().__init__(examples, draws, target_se, clip_x0, seed, batch_size)
        check_times(times, exact_steps)
        self.times, self.exact_steps = times, exact_steps

    def plan(self, index: Tensor, T: int, first_draw: int = 0) -> Plan:
        exact = min(self.exact_steps, T)
        rest = T - exact
        times = min(self.times, rest)  # as many draws as terms: every term once, exhaustive
        weight = rest / max(times, 1)
        example, draw = pairs(len(index), self.draws, first_draw)
        u = uniform(key(self.seed, index[example], draw, torch.full_like(draw, KEYED)))
        drawn = exact + 1 + ((u[:, None] + torch.arange(times)) * weight).floor().long()
        return exact_and_drawn(example, draw, exact, drawn.clamp(max=T), weight, self.draws)


def check_times(times: int, exact_steps: int) -> None:
    if times < 1 or exact_steps < 0:
        raise ConfigError(f"bound.times={times} must be at least 1 and bound.exact_steps={exact_steps} at least 0.")


def exact_and_drawn(
    example: Tensor, draw: Tensor, exact: int, drawn: Tensor, drawn_weight: Tensor | float, draws: int
) -> Plan:
    """t = 1..exact with weight 1 and the `drawn` t [P, times] with theirs (float64), for each of P pairs (example, draw)."""
    columns = exact + drawn.shape[1]
    weight = torch.ones(len(example), columns, dtype=torch.float64)
    weight[:, exact:] = drawn_weight
    return Plan(
        example.repeat_interleave(columns),
        torch.cat([torch.arange(1, exact + 1).expand(len(example), exact), drawn], dim=1).flatten(),
        draw.repeat_interleave(columns),
        weight.flatten() / draws,
    )
