"""Continuous time, schedule.T=inf (Kingma et al. 2021, VDM, eq. 15-17): steps so short that no reverse variance enters.

    L_inf = 1/2 int ||eps - eps_hat||^2 dlambda over [lambda_T, lambda_1]  +  L_T  +  L_0,        lambda = log SNR

The levels of a chain cut the integral into intervals. Term t = 2..T is the integral over [lambda_t, lambda_{t-1}], found
without bias at one level drawn uniformly in it; t = 1 is L_0 at lambda_1. So designs, ledger, figures and comparisons are those
of a chain, and a chain with fewer levels, or all of them, is what samples are drawn by. Where the chain learns, Moving says on what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..build import build
from ..errors import ConfigError
from .base import INF, Level, Schedule, Step
from .learned import Learned

# Of the squares' gradient: Adam does not mind, and in the clipped norm of all gradients they count little.
SQUARES = 0.01


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
        log_snr, width = placed(step, u)
        return Instant(meeting(step, log_snr), Level(log_snr), step.first_log_var, step.learned_from, width)


def placed(step: Step, u: Tensor) -> tuple[Tensor, Tensor]:
    """(the log SNR drawn between the levels of a step, its width), float64 [B]."""
    first, endless = step.is_first, torch.isinf(step.t.log_snr)
    top = torch.where(first, step.t.log_snr, step.s.log_snr)  # at t = 1 nothing is drawn
    span = torch.where(endless, 0.0, top - step.t.log_snr)
    log_snr = torch.where(endless, top + torch.log1p(-u), top - u * span)
    return log_snr, torch.where(first, 1.0, torch.where(endless, 1 / (1 - u), span))


def meeting(step: Step, log_snr: Tensor) -> Level:
    """The s of the step, where that is clean data; else the level drawn."""
    return Level(torch.where(step.is_first, step.s.log_snr, log_snr))


class Heard:
    """The losses of a step, [B], known once its network was evaluated. Some of the rows of a step hear for themselves."""

    loss: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> Heard:
        return Heard()


class Squared(torch.autograd.Function):
    """Zeros [B] in the place of x: the gradient of a sum of losses that arrives goes on to x as SQUARES that of their squares."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, heard: Heard) -> Tensor:
        ctx.heard = heard
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        (g,), loss = grad, ctx.heard.loss
        return (torch.zeros_like(g) if loss is None else 2 * SQUARES * loss.to(g) * g), None


@dataclass(frozen=True)
class Listening(Instant):
    """Whose level and width a learned interior has part in."""

    heard: Heard

    def hear(self, loss: Tensor) -> None:
        self.heard.loss = loss.detach()


class Moving(nn.Module, Continuous):
    """Between the levels of a chain that learns (VDM, section 5 and appendix I.2).

    Its ends are trained on the bound, with the unbiased gradient that x_t, the level and the width of each interval have of
    them. What lies between leaves the bound as it is, and what its gradient would be is noise: instead the pieces
    minimise E[loss^2] for t uniform, whatever the run's t are drawn by (iw weighs them), and with it the variance of a
    bound measured at evenly drawn t. d loss^2 = 2 loss d loss: one backward pass trains all, and neither
    network nor ends learn of the squares. Only what L_0 reads of the second level (beta_tilde_2: variance=fixed_beta_tilde,
    ddpm_t1) is the bound's own.
    """

    def __init__(self, chain: Learned) -> None:
        super().__init__()
        self.chain, self.serves, self.original = chain, chain.serves, chain.original

    @property
    def T(self) -> int:
        return self.chain.T

    @property
    def log_snr(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.chain.log_snr

    @property
    def learned_from(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.chain.learned_from

    @property
    def first_log_var(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.chain.first_log_var

    def drawn(self, t: Tensor, u: Tensor) -> Step:
        step, heard = self.step(t), Heard()
        ends, pieces = (
            placed(replace(step, s=Level(table[t - 1]), t=Level(table[t])), u)
            for table in (self.chain.table(pieces=False), self.chain.table(ends=False))
        )
        log_snr, width = (end + Squared.apply(piece, heard) for end, piece in zip(ends, pieces, strict=True))
        return Listening(meeting(step, log_snr), Level(log_snr), step.first_log_var, step.learned_from, width, heard)


def scheduled(node: Mapping[str, Any], strata: int, **context: Any) -> Schedule:
    """The schedule that `node` describes; schedule.T=inf: `strata` - 1 intervals between its levels at T = strata."""
    if node.get("T") != INF:
        return build("schedule", node, **context)
    if strata < 2:
        raise ConfigError(f"strata={strata} must be at least 2: the first is L_0, the others cut the integral.")
    try:
        chain = build("schedule", {**node, "T": strata}, **context)
        return Moving(chain) if isinstance(chain, Learned) else Continuous(chain)
    except ConfigError as error:
        raise type(error)(str(error).replace("schedule.T", "strata")) from error
