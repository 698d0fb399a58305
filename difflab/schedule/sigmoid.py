"""Jabri et al. 2022, Chen 2023 (algorithm 1): abar_t falls like a sigmoid between `start` and `end` of width `tau`."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import logsigmoid

from ..errors import ConfigError
from .base import Schedule, check_T, terminal


class Sigmoid(Schedule):
    """abar_t = (S(end) - S(x_t)) / (S(end) - S(start)), S(x) = sigmoid(x / tau), x_t = start + (end - start) t/T.

    That is 0 at t = T; there, as the paper's clip has it, abar_T = `min_abar`. Raises ConfigError if levels before T reach
    that clip, too.
    """

    def __init__(self, *, T: int, start: float, end: float, tau: float, min_abar: float, zero_terminal: bool) -> None:
        check_T(T)
        if not start < end:
            raise ConfigError(f"schedule.start={start} and schedule.end={end}: start < end is required.")
        if not 0 < tau < math.inf:
            raise ConfigError(f"schedule.tau={tau} must be a positive number; the paper's value is 1.0.")
        if not 0 < min_abar < 1:
            raise ConfigError(
                f"schedule.min_abar={min_abar} must lie strictly between 0 and 1; the paper's value is 1e-9."
            )
        a, b = (torch.tensor(x / tau, dtype=torch.float64) for x in (start, end))
        x = a + (b - a) * torch.arange(1, T, dtype=torch.float64) / T
        # log abar - log(1 - abar), with S(b) - S(a) = S(b) S(-a) (1 - exp(a - b)): nothing cancels at either end
        inner = logsigmoid(b) - logsigmoid(-a) - x + torch.log(-torch.expm1(x - b)) - torch.log(-torch.expm1(a - x))
        last = math.log(min_abar) - math.log1p(-min_abar)
        if T > 1 and not float(inner[-1]) > last:
            raise ConfigError(
                f"schedule.min_abar={min_abar}: abar falls below it before the last step; lower it or raise schedule.tau={tau}."
            )
        ends = [torch.tensor([value], dtype=torch.float64) for value in (math.inf, last)]
        super().__init__(terminal(torch.cat([ends[0], inner, ends[1]]), zero_terminal))
