"""A chain whose log SNR is learned with the network (Kingma et al. 2021, VDM, section 3; here with finitely many steps)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..learned import at_speed, check_speed
from .base import Schedule, check_T

# |log SNR| at t = 1 stays below it, and the span below twice that: beyond, float32 sees no noise or no signal.
FAR = 40.0
LEAST, EVEN = 0.01, 0.01  # the smallest span; the share of it that is spread evenly, so that no gap closes


class Learned(nn.Module, Schedule):
    """log SNR = first - span F(t), F from 0 at t = 1 to 1 at t = T, rising in straight `pieces` of equal numbers of steps.

    It begins as schedule=log_linear with these ends. What is learned: first, span and each piece's share of the span (a
    softmax), as parameters that move `speed` times as fast as a weight. For any of their values the table falls strictly:
    first = FAR tanh(x / FAR), span = LEAST + 2 FAR tanh(softplus(x) / (2 FAR)), and EVEN of the span is not theirs to share.
    A bound of T steps depends on every level and on L_T, so its gradient trains all of it. Each table is computed anew from
    the parameters, float64 on the CPU (a GPU is waited for), with a graph of its own. In continuous time the ends alone are
    trained on the bound (_continuous.Moving).
    """

    serves = ("gaussian",)  # x_t between states jumps, and has no gradient

    def __init__(self, *, T: int, first_log_snr: float, last_log_snr: float, pieces: int, speed: float) -> None:
        super().__init__()
        check_T(T, 2)
        check_speed("schedule.speed", speed)
        span = first_log_snr - last_log_snr
        if not (abs(first_log_snr) < FAR and 2 * LEAST < span < 2 * FAR):
            raise ConfigError(
                f"schedule.first_log_snr={first_log_snr} must lie within {FAR:g} of 0 and exceed schedule.last_log_snr={last_log_snr} by less "
                f"than {2 * FAR:g}: the signal fades; 13.3 and -5 are the paper's."
            )
        if not isinstance(pieces, int) or pieces < 1:
            raise ConfigError(f"schedule.pieces={pieces} must be an integer of at least 1; 32 is a good value.")
        self.steps, self.speed, pieces = T, speed, min(pieces, T - 1)
        place = torch.arange(T, dtype=torch.float64) / (T - 1) * pieces
        self.piece = place.long().clamp(max=pieces - 1)  # plain tensors: they stay on the CPU
        self.within = place - self.piece
        self.original = torch.arange(T + 1)
        soft = 2 * FAR * math.atanh((span - LEAST) / (2 * FAR))
        ends = [FAR * math.atanh(first_log_snr / FAR), soft + math.log(-math.expm1(-soft))]
        rate = torch.tensor([*ends, *[0.0] * pieces], dtype=torch.float64) / speed
        self.rate = nn.Parameter(rate.float())

    @property
    def T(self) -> int:
        return self.steps

    @property
    def log_snr(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.table()

    def table(self, ends: bool = True, pieces: bool = True) -> Tensor:
        """log SNR [T + 1], in whose graph are the ends (first and span), the pieces' shares, or both."""
        x = at_speed(self.rate.cpu(), self.speed)
        first, span = x[:2] if ends else x[:2].detach()
        first = FAR * torch.tanh(first / FAR)
        span = LEAST + 2 * FAR * torch.tanh(nn.functional.softplus(span) / (2 * FAR))
        share = torch.softmax(x[2:] if pieces else x[2:].detach(), 0)
        share = (1 - EVEN) * share + EVEN / len(share)
        before = share.cumsum(0) - share
        rise = before[self.piece] + self.within * share[self.piece]
        return torch.cat([rise.new_tensor([math.inf]), first - span * rise])

    @property
    def learned_from(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        table = self.log_snr
        return torch.cat([table[:1], table[:-1]])

    @property
    def first_log_var(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._own_first_log_var()
