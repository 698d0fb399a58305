"""Continuous time, schedule.T=inf (Kingma et al. 2021, VDM, eq. 15-17): steps so short that no reverse variance enters.

    L_inf = 1/2 int ||eps - eps_hat||^2 dlambda over [lambda_T, lambda_1]  +  L_T  +  L_0,        lambda = log SNR

The levels of a chain cut the integral into intervals. Term t = 2..T is the integral over [lambda_t, lambda_{t-1}], found
without bias at one level drawn uniformly in it; t = 1 is L_0 at lambda_1. So designs, ledger, figures and comparisons are those
of a chain, and a chain with fewer levels, or all of them, is what samples are drawn by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..build import build
from ..errors import ConfigError
from .base import INF, Level, Schedule, Step


@dataclass(frozen=True)
class Instant(Step):
    """A step between two levels that meet at the one drawn, s = t: c0 -> alpha c, beta and beta_tilde -> sigma^2 c as c -> 0, so

        1/2 (mu_tilde - m)^2 / v  ->  1/2 c SNR (x_0 - x0_hat)^2  =  1/2 c (eps - eps_hat)^2

    and beta = beta_tilde leaves no mismatch. c is what the level stands for: `width` [B], one over the density it is drawn with.
    At t = 1 (s is clean data) it is the step itself, of width c = 1.
    """

    width: Tensor

    @property
    def c(self) -> Tensor:
        return self.width

    def integral(self, primitive: Callable[[Tensor], Tensor], density: Callable[[Tensor], Tensor]) -> Tensor:
        return self.width * density(self.t.log_snr)


class Continuous(Schedule):
    """The intervals between the levels of `chain`, T >= 2. Where the last is infinite (SNR_T = 0), its level is drawn uniformly
    in SNR."""

    continuous = True

    def __init__(self, chain: Schedule) -> None:
        super().__init__(chain.log_snr)

    def drawn(self, t: Tensor, u: Tensor) -> Step:
        step = self.step(t)
        first, endless = step.is_first, torch.isinf(step.t.log_snr)
        top = torch.where(first, step.t.log_snr, step.s.log_snr)  # at t = 1 nothing is drawn
        span = torch.where(endless, 0.0, top - step.t.log_snr)
        log_snr = torch.where(endless, top + torch.log1p(-u), top - u * span)
        width = torch.where(first, 1.0, torch.where(endless, 1 / (1 - u), span))
        s = torch.where(first, step.s.log_snr, log_snr)
        return Instant(Level(s), Level(log_snr), step.first_log_var, step.learned_from, width)


def scheduled(node: Mapping[str, Any], strata: int, **context: Any) -> Schedule:
    """The schedule that `node` describes; schedule.T=inf: `strata` - 1 intervals between its levels at T = strata."""
    if node.get("T") != INF:
        return build("schedule", node, **context)
    if strata < 2:
        raise ConfigError(f"strata={strata} must be at least 2: the first is L_0, the others cut the integral.")
    try:
        return Continuous(build("schedule", {**node, "T": strata}, **context))
    except ConfigError as error:
        raise type(error)(str(error).replace("schedule.T", "strata")) from error
