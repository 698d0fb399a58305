"""Sohl-Dickstein et al. 2015, appendix B.1, for binary data: beta_t = 1 / (T - t + 1)."""

from __future__ import annotations

import torch

from .base import Schedule, check_T


class LinearAbar(Schedule):
    """abar_t = 1 - t/T: each step hides as many dimensions as any other, and abar_T = 0, so L_T = 0.

    In a mask process (Austin et al. 2021) every step then has the same number of terms. It is a terminal SNR of 0 for a
    Gaussian process.
    """

    def __init__(self, *, T: int) -> None:
        check_T(T)
        t = torch.arange(1, T, dtype=torch.float64)
        ends = [torch.tensor([value], dtype=torch.float64) for value in (torch.inf, -torch.inf)]
        super().__init__(torch.cat([ends[0], torch.log(T - t) - torch.log(t), ends[1]]))
