"""Random t where the terms are large: p_t ~ sqrt(E[L_{t-1}^2]) from a pilot (Nichol & Dhariwal 2021, eq. 18, for measuring)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Design, Plan, pairs
from .noise import key, uniform
from .smooth import window_mean
from .stratified import KEYED, Stratified, check_times, ends, exact, exact_and_drawn

if TYPE_CHECKING:
    from .estimate import Estimate

# The last t of every pilot example: a clipped beta makes t = T the heaviest of all, and few draws find it.
PILOT_LAST = 2


class Importance(Design):
    """t = 1..exact_steps and T - last_steps + 1..T of each example, and `times` systematic draws from p over the other t,
    weight 1 / (times p_t).

    exact_steps = 0, times = 1 is the cheapest design for the population mean, since examples differ more than terms do;
    many of both give each example's own bound. Unbiased whatever p is: `uniform_mix` of it is uniform, which bounds the
    weights where the pilot missed something. The pilot (pilot_examples x pilot_times evaluations, PILOT_LAST of them the
    last t) runs on other examples, so p is independent of what is measured. Before it, p is uniform.
    """

    def __init__(
        self,
        *,
        examples: int | None,
        draws: int,
        times: int,
        exact_steps: int,
        last_steps: int,
        uniform_mix: float,
        pilot_examples: int,
        pilot_times: int,
        target_se: float | None,
        clip_x0: bool,
        seed: int,
        batch_size: int,
    ) -> None:
        super().__init__(examples, draws, target_se, clip_x0, seed, batch_size)
        check_times(times, exact_steps, last_steps)
        if not 0 < uniform_mix <= 1:
            raise ConfigError(
                f"bound.uniform_mix={uniform_mix} must lie in (0, 1], or a t that the pilot missed could never be drawn; 0.05 is good."
            )
        if pilot_examples < 1 or pilot_times < 2 * PILOT_LAST:
            raise ConfigError(
                f"bound.pilot_examples={pilot_examples} must be at least 1 and bound.pilot_times={pilot_times} at least {2 * PILOT_LAST}."
            )
        self.times, self.exact_steps, self.last_steps, self.uniform_mix = times, exact_steps, last_steps, uniform_mix
        self.pilot_examples, self.pilot_times = pilot_examples, pilot_times
        self.p: Tensor | None = None  # float64 [T + 1]; slot t

    @property
    def pilot(self) -> Stratified:
        half = self.pilot_times // 2
        return Stratified(
            examples=self.pilot_examples, draws=1, times=half - PILOT_LAST // 2, exact_steps=self.pilot_times - half - PILOT_LAST // 2,
            last_steps=PILOT_LAST, target_se=None, clip_x0=self.clip_x0, seed=self.seed, batch_size=self.batch_size,
        )  # fmt: skip

    def learned(self, pilot: Estimate) -> Self:
        squares, count = np.zeros(pilot.T + 1), np.zeros(pilot.T + 1)
        for block in pilot.blocks():
            squares += block.plain("nats", power=2)
            count += block.counts()
        return self._with(torch.from_numpy(np.sqrt(window_mean(squares, count))))

    def state(self) -> dict[str, Any]:
        return {} if self.p is None else {"p": self.p.tolist()}

    def restored(self, state: dict[str, Any]) -> Self:
        return self._with(torch.tensor(state["p"], dtype=torch.float64)) if "p" in state else self

    def _with(self, p: Tensor) -> Self:
        design = copy.copy(self)
        design.p = p
        return design

    def probabilities(self, T: int) -> Tensor:
        """p over the t that are drawn, between those at the ends, float64, summing to 1."""
        first, last = ends(T, self.exact_steps, self.last_steps)
        rest = T - first - last
        uniform_p = torch.full((rest,), 1 / max(rest, 1), dtype=torch.float64)
        if self.p is None or len(self.p) != T + 1:
            return uniform_p
        p = self.p[first + 1 : T - last + 1]
        return torch.lerp(p / p.sum(), uniform_p, self.uniform_mix) if float(p.sum()) > 0 else uniform_p

    def plan(self, index: Tensor, T: int, first_draw: int = 0) -> Plan:
        first, last = ends(T, self.exact_steps, self.last_steps)
        if self.times >= T - first - last:  # as many draws as terms: every term once
            first, last = T, 0
        example, draw = pairs(len(index), self.draws, first_draw)
        if first == T:
            nothing = torch.empty(len(example), 0, dtype=torch.int64)
            return exact_and_drawn(example, draw, exact(T, T, 0), nothing, nothing.double(), self.draws)
        p = self.probabilities(T)
        u = uniform(key(self.seed, index[example], draw, torch.full_like(draw, KEYED)))
        position = (u[:, None] + torch.arange(self.times)) / self.times
        cell = torch.searchsorted(p.cumsum(0), position, right=True).clamp(max=len(p) - 1)
        weight = 1 / (self.times * p[cell])
        return exact_and_drawn(example, draw, exact(T, first, last), first + 1 + cell, weight, self.draws)
