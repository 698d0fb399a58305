"""Ho et al. 2020: beta_t linear in t."""

from __future__ import annotations

import math

import torch

from ..errors import ConfigError
from .base import Schedule, check_T, log_snr_from_betas, terminal


class Linear(Schedule):
    """beta from `first_beta` to `last_beta`, both given for a chain of 1,000 steps and scaled by 1000 / T.

    Raises ConfigError where the scaling gives beta >= 1 (T < 21 at the published end points) or T = 1, which has no line.
    """

    def __init__(self, *, T: int, first_beta: float, last_beta: float, zero_terminal: bool) -> None:
        if not 0 < first_beta <= last_beta:
            raise ConfigError(
                f"schedule.first_beta={first_beta} and schedule.last_beta={last_beta}: 0 < first <= last is required."
            )
        check_T(T, max(2, math.floor(1000 * last_beta) + 1))
        scale = 1000 / T
        betas = torch.linspace(scale * first_beta, scale * last_beta, T, dtype=torch.float64)
        super().__init__(terminal(log_snr_from_betas(betas), zero_terminal))
