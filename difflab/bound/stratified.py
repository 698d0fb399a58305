"""The terms at the ends of the chain in full, the rest by systematic draws of t."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Design, Plan, pairs
from .noise import key, uniform

KEYED = -1  # the word in place of t that keys the draw of t itself: no noise is keyed so


class Stratified(Design):
    """t = 1..exact_steps of each example, where most of the bits lie, `times` systematic draws from all t beyond, and the
    last_steps at the end, T - last_steps + 1..T.

    Those are a few evaluations that one heavy term is worth: where beta_T is clipped to 0.999 (cosine), a unit of noise
    error weighs 500 nats at t = T and at no other, and a design that draws t finds it a few times in a split or never.
    The draws of one example share one keyed uniform number u: t_j = exact_steps + 1 + floor(rest (u + j) / times) with
    rest = T - exact_steps, each with weight rest / times; one that falls on a last step shares its weight of 1 with it, so
    that the draws are the same whatever last_steps is. Evaluates N x (exact_steps + times + last_steps) x draws times;
    unbiased.
    """

    def __init__(
        self,
        *,
        examples: int | None,
        draws: int,
        times: int,
        exact_steps: int,
        last_steps: int,
        target_se: float | None,
        clip_x0: bool,
        seed: int,
        batch_size: int,
    ) -> None:
        super().__init__(examples, draws, target_se, clip_x0, seed, batch_size)
        check_times(times, exact_steps, last_steps)
        self.times, self.exact_steps, self.last_steps = times, exact_steps, last_steps

    def plan(self, index: Tensor, T: int, first_draw: int = 0) -> Plan:
        first, last = ends(T, self.exact_steps, self.last_steps)
        rest = T - first
        times = min(self.times, rest)  # as many draws as terms: every term once, exhaustive
        weight = rest / max(times, 1)
        example, draw = pairs(len(index), self.draws, first_draw)
        u = uniform(key(self.seed, index[example], draw, torch.full_like(draw, KEYED)))
        drawn = first + 1 + ((u[:, None] + torch.arange(times)) * weight).floor().long()
        plan = exact_and_drawn(example, draw, exact(T, first, last), drawn.clamp(max=T), weight, self.draws)
        return _shared(plan, len(example), first, last, T)


def _shared(plan: Plan, count: int, first: int, last: int, T: int) -> Plan:
    """The plan of `count` pairs (example, draw) in which a last step that was drawn as well has half of its weight in each row."""
    t, weight = plan.t.reshape(count, -1), plan.weight.reshape(count, -1).clone()
    for i in range(last):
        ends_here = t == T - last + 1 + i  # [count, rows]: the exact row, and the drawn one where there is one
        own = weight[:, first + i, None] / ends_here.sum(1, keepdim=True)
        weight = torch.where(ends_here, own, weight)
    return plan._replace(weight=weight.flatten())


def check_times(times: int, exact_steps: int, last_steps: int) -> None:
    if times < 1 or exact_steps < 0 or last_steps < 0:
        raise ConfigError(
            f"bound.times={times} must be at least 1, bound.exact_steps={exact_steps} and bound.last_steps={last_steps} at least 0."
        )


def ends(T: int, exact_steps: int, last_steps: int) -> tuple[int, int]:
    """How many of the first and of the last t are evaluated for every example; a short chain has no more than T."""
    first = min(exact_steps, T)
    return first, min(last_steps, T - first)


def exact(T: int, first: int, last: int) -> Tensor:
    """1..first and T - last + 1..T, int64."""
    return torch.cat([torch.arange(1, first + 1), torch.arange(T - last + 1, T + 1)])


def exact_and_drawn(
    example: Tensor, draw: Tensor, exact: Tensor, drawn: Tensor, drawn_weight: Tensor | float, draws: int
) -> Plan:
    """The `exact` t [E] with weight 1 and the `drawn` t [P, times] with theirs (float64), for each of P pairs (example, draw)."""
    columns = len(exact) + drawn.shape[1]
    weight = torch.ones(len(example), columns, dtype=torch.float64)
    weight[:, len(exact) :] = drawn_weight
    return Plan(
        example.repeat_interleave(columns),
        torch.cat([exact.expand(len(example), -1), drawn], dim=1).flatten(),
        draw.repeat_interleave(columns),
        weight.flatten() / draws,
    )
