"""A chain is a list of log-SNRs; everything else follows from two of them.

With s < t, SNR = alpha^2 / sigma^2 and c = 1 - SNR_t / SNR_s = -expm1(log_snr_t - log_snr_s):

    beta = sigma_t^2 c      beta_tilde = sigma_s^2 c      mu_tilde = c0 x_0 + ct x_t
    c0 = alpha_s c          ct = (alpha_t / alpha_s) (sigma_s / sigma_t)^2

The last level may be pure noise, log_snr = -inf: SNR_t = 0, alpha_t = 0, c = 1, and all of the above stays finite.

Everything here is float64 on the CPU, shape [B]; `gaussian.expand` casts a coefficient when it meets data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..errors import ConfigError

LONGEST = 1_000_000
INF = "inf"  # schedule.T in continuous time (_continuous.py)


@dataclass(frozen=True)
class Level:
    """One noise level: x_t = alpha x_0 + sigma eps, alpha^2 = sigmoid(log_snr). Slot 0, clean data, is log_snr = inf."""

    log_snr: Tensor  # float64 [B]

    @property
    def alpha(self) -> Tensor:
        return torch.exp(0.5 * logsigmoid(self.log_snr))

    @property
    def log_var(self) -> Tensor:
        """log sigma^2."""
        return logsigmoid(-self.log_snr)

    @property
    def sigma(self) -> Tensor:
        return torch.exp(0.5 * self.log_var)

    def __getitem__(self, rows: Tensor) -> Level:
        return Level(self.log_snr[rows])


@dataclass(frozen=True)
class Step:
    """The transition between two levels, s less noisy than t.

    first_log_var [B]: what stands for log beta_tilde where s is clean data and beta_tilde = 0 (see Schedule.step).
    learned_from: the level next below t on the chain that the network is trained on; s itself, unless the step jumps.
    """

    s: Level
    t: Level
    first_log_var: Tensor
    learned_from: Level

    @property
    def is_first(self) -> Tensor:
        """bool [B]: s is clean data, so the term is the decoder's and not a KL."""
        return torch.isinf(self.s.log_snr)

    @property
    def c(self) -> Tensor:
        return -torch.expm1(self.t.log_snr - self.s.log_snr)

    @property
    def c0(self) -> Tensor:
        return self.s.alpha * self.c

    @property
    def ct(self) -> Tensor:
        return self.t.alpha / self.s.alpha * torch.exp(self.s.log_var - self.t.log_var)

    @property
    def log_beta(self) -> Tensor:
        return self.t.log_var + torch.log(self.c)

    @property
    def log_beta_tilde(self) -> Tensor:
        return torch.where(self.is_first, self.first_log_var, self.s.log_var + torch.log(self.c))

    @property
    def log_ratio(self) -> Tensor:
        """log beta - log beta_tilde >= 0, without their common factor."""
        return torch.where(self.is_first, self.log_beta - self.first_log_var, self.t.log_var - self.s.log_var)

    def integral(self, primitive: Callable[[Tensor], Tensor], density: Callable[[Tensor], Tensor]) -> Tensor:
        """Of a density over log SNR between the two levels, from its `primitive`; float64 [B]."""
        return primitive(self.s.log_snr) - primitive(self.t.log_snr)

    def hear(self, loss: Tensor) -> None:
        """The objective's loss of each row [B], before its gradient is taken: for what learns from more than that."""

    def __getitem__(self, rows: Tensor) -> Self:
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def learned(self) -> Step:
        """The training chain's own step to t: what a target that depends on s (mu) was defined by."""
        return Step(self.learned_from, self.t, self.first_log_var, self.learned_from)


class Schedule:
    """A chain of T steps: log_snr [T + 1], float64, falling, with log_snr[0] = inf for clean data; log_snr[T] may be -inf.

    A variant computes the table and passes it here. Raises ConfigError if it does not fall. For a part of another chain,
    `learned_from` [T + 1] is the log SNR next below each level on that chain (see Step), `original` int64 [T + 1] the t
    of each level there, which keys evaluation noise (a part sees the same x_t as the whole), and `first_log_var` what
    stood for log beta_tilde at its t = 1. Else all are the chain's own.

    continuous: whether the levels are no more than the edges of intervals in which the terms draw theirs.
    """

    continuous = False

    def __init__(
        self,
        log_snr: Tensor,
        learned_from: Tensor | None = None,
        original: Tensor | None = None,
        first_log_var: Tensor | None = None,
    ) -> None:
        if not bool((log_snr.diff() < 0).all()):
            raise ConfigError(
                "schedule: log SNR must fall from every level to the next; this choice of values does not do that."
            )
        self.log_snr = log_snr
        self.learned_from = torch.cat([log_snr[:1], log_snr[:-1]]) if learned_from is None else learned_from
        self.original = torch.arange(len(log_snr)) if original is None else original
        self.first_log_var = self._own_first_log_var() if first_log_var is None else first_log_var

    @property
    def T(self) -> int:
        return len(self.log_snr) - 1

    @property
    def label(self) -> int | str:
        """T as it is chosen, and as results say it."""
        return INF if self.continuous else self.T

    def level(self, t: Tensor) -> Level:
        """t int64 [B] in 0..T."""
        return Level(self.log_snr[t])

    def step(self, t: Tensor, s: Tensor | None = None) -> Step:
        """The step s -> t of this chain; s = t - 1 unless given. int64 [B], 0 <= s < t <= T.

        At s = 0 beta_tilde is 0; every variance that reads it gets first_log_var there.
        """
        s = t - 1 if s is None else s
        return Step(self.level(s), self.level(t), self.first_log_var.expand(len(t)), Level(self.learned_from[t]))

    def drawn(self, t: Tensor, u: Tensor) -> Step:
        """What the bound's term at t is evaluated with: the step to t or, in continuous time, a level between s and t, by
        uniform numbers u in [0, 1), float64 [B]."""
        return self.step(t)

    def _own_first_log_var(self) -> Tensor:
        """log beta_tilde_2 (log beta_1 if T = 1), as in DDPM."""
        top = torch.tensor(min(2, self.T))
        below = self.level(top - 1)
        second = Step(below, self.level(top), torch.zeros((), dtype=torch.float64), below)
        return second.log_beta if self.T == 1 else second.log_beta_tilde

    def respace(self, times: Tensor) -> Schedule:
        """The chain that visits only the levels `times` (int64 [K], rising, in 1..T): the same object, K steps long.

        If it keeps t = 1, p(x_0|x_1) is the whole chain's, whatever its variance reads: the same L_0.
        """
        tables = (self.log_snr.detach(), self.learned_from.detach(), self.original)
        first = self.first_log_var.detach() if int(times[0]) == 1 else None
        return Schedule(*(torch.cat([table[:1], table[times]]) for table in tables), first_log_var=first)

    def even(self, steps: int) -> Tensor:
        """`steps` evenly spaced times of this chain."""
        return even(self.T, steps)


def even(T: int, steps: int) -> Tensor:
    """`steps` evenly spaced times that keep both ends (1 and T), int64; a single step keeps T. ConfigError if too many."""
    if not 1 <= steps <= T:
        raise ConfigError(f"a chain of {T} steps (schedule.T) has no part of {steps} steps; choose a number in 1..{T}.")
    return torch.linspace(1 if steps > 1 else T, T, steps, dtype=torch.float64).round().long()


def log_snr_from_betas(betas: Tensor) -> Tensor:
    """Forward variances beta_1..beta_T (float64) -> log_snr [T + 1]; sums of log1p, not float32 products."""
    log_abar = torch.cumsum(torch.log1p(-betas), 0)
    log_snr = log_abar - torch.log(-torch.expm1(log_abar))
    return torch.cat([log_snr.new_tensor([torch.inf]), log_snr])


def terminal(log_snr: Tensor, zero_terminal: bool) -> Tensor:
    """A variant's table [T + 1], or, if `zero_terminal`, the same with SNR_T = 0 (Lin et al. 2024, algorithm 1).

    alpha is shifted and stretched so that alpha_T = 0 and alpha_1 is kept: alpha' = (alpha - alpha_T) / (1 - alpha_T / alpha_1).
    L_T is 0 then. Raises ConfigError for T = 1, where alpha_1 is alpha_T.
    """
    if not zero_terminal:
        return log_snr
    if len(log_snr) < 3:
        raise ConfigError(
            "schedule.zero_terminal=true keeps alpha_1 and makes alpha_T zero, which schedule.T=1 cannot; set schedule.T=2 or more."
        )
    inner = Level(log_snr[1:])
    alpha, variance = inner.alpha, torch.exp(inner.log_var)
    stretch = alpha[-1] / (alpha[0] - alpha[-1])
    # alpha - alpha' as a difference of variances: near the data alphas differ in digits that they do not have
    shift = stretch * (variance - variance[0]) / (alpha + alpha[0])
    rescaled = 2 * torch.log((alpha - alpha[-1]) * (1 + stretch)) - torch.log(variance + shift * (2 * alpha - shift))
    rescaled[0], rescaled[-1] = log_snr[1], -torch.inf  # exactly
    return torch.cat([log_snr[:1], rescaled])


def check_T(T: object, smallest: int = 1) -> int:
    """The chain length as an int; ConfigError if it is no chain."""
    if not isinstance(T, int) or smallest > T:
        raise ConfigError(
            f"schedule.T={T} must be an integer of at least {smallest} for this schedule; set schedule.T={max(smallest, 1000)}."
        )
    if T > LONGEST:
        raise ConfigError(
            f"schedule.T={T} is more than {LONGEST:,} steps, whose tables alone fill the memory; set schedule.T=1000."
        )
    return T
