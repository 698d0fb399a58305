"""Nichol & Dhariwal 2021, eq. 17: abar_t = f(t) / f(0), f(t) = cos^2((t/T + s) / (1 + s) pi/2)."""

from __future__ import annotations

import math

import torch

from ..errors import ConfigError
from .base import Schedule, check_T, log_snr_from_betas, terminal


class Cosine(Schedule):
    """The cosine schedule; beta is clipped at `max_beta` so that the last steps do not destroy x_t at once."""

    def __init__(self, *, T: int, s: float, max_beta: float, zero_terminal: bool) -> None:
        check_T(T)
        if not 0 <= s < math.inf:
            raise ConfigError(f"schedule.s={s} must be a number >= 0; the paper's value is 0.008.")
        if not 0 < max_beta < 1:
            raise ConfigError(
                f"schedule.max_beta={max_beta} must lie strictly between 0 and 1; the paper's value is 0.999."
            )
        angle = (torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2
        log_f = 2 * torch.log(torch.cos(angle))
        betas = -torch.expm1(log_f.diff())
        super().__init__(terminal(log_snr_from_betas(betas.clamp(max=max_beta)), zero_terminal))
