"""Kingma et al. 2021 (VDM), its fixed schedule: log SNR linear in t (there gamma = -log SNR from -13.3 to 5)."""

from __future__ import annotations

import torch

from ..errors import ConfigError
from .base import Schedule, check_T, terminal


class LogLinear(Schedule):
    """log SNR from `first_log_snr` at t = 1 to `last_log_snr` at t = T, the same for every T.

    VDM's z_0 is x_1 here: its T steps are a chain of T + 1. Raises ConfigError for T = 1, which has no line.
    """

    def __init__(self, *, T: int, first_log_snr: float, last_log_snr: float, zero_terminal: bool) -> None:
        check_T(T, 2)
        if not first_log_snr > last_log_snr:
            raise ConfigError(
                f"schedule.first_log_snr={first_log_snr} must exceed schedule.last_log_snr={last_log_snr}: the signal fades."
            )
        clean = torch.tensor([torch.inf], dtype=torch.float64)
        levels = torch.linspace(first_log_snr, last_log_snr, T, dtype=torch.float64)
        super().__init__(terminal(torch.cat([clean, levels]), zero_terminal))
