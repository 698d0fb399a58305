"""The mean error of a step split over frequencies: which details of the picture does it pay for?"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..gaussian import expand

BANDS = 8


class Bands:
    """Eight bands of the orthonormal 2-D DCT of (mu_tilde - m) / sqrt(v), whose sums of squares add up to those of the
    pixels (Parseval) whatever the diagonal variance.

    Coefficient (i, j) of an H x W picture belongs to band floor(8 max(i / H, j / W)): square shells around the mean, so
    band k holds the k-th eighth of the frequencies in both directions.
    """

    names = tuple(f"band_{k}" for k in range(BANDS))

    def __init__(self, height: int, width: int) -> None:
        self._rows, self._columns = dct(height), dct(width)
        frequency = torch.maximum(torch.arange(height)[:, None] / height, torch.arange(width)[None] / width)
        shell = (BANDS * frequency).long().clamp(max=BANDS - 1).flatten()
        self._member = torch.nn.functional.one_hot(shell, BANDS).double()  # [H W, BANDS]

    @property
    def coefficients(self) -> Tensor:
        """How many coefficients of one channel a band has, int64 [BANDS]."""
        return self._member.sum(0).long()

    def energy(self, x: Tensor) -> Tensor:
        """Sums of squares of each band's coefficients, [B, BANDS], over the channels of x [B, C, H, W]."""
        rows, columns = self._rows.to(x), self._columns.to(x)
        return (rows @ x @ columns.T).square().sum(1).flatten(1) @ self._member.to(x)

    def split(self, prediction: Any, x0: Tensor, eps: Tensor) -> Tensor:
        """The mean error of each band of a Gaussian step in nats, float64 [B, BANDS], summed over channels; 0 where t = 1."""
        difference = prediction.mean_difference(x0, eps)  # [B, C, H, W]
        log_var = expand(prediction.step.log_beta_tilde, prediction.excess) + prediction.excess
        scaled = (difference.double() * torch.exp(-0.5 * log_var.double())).to(torch.float64)
        later = (~prediction.step.is_first).to(scaled)
        return 0.5 * self.energy(scaled) * later[:, None]


def dct(n: int) -> Tensor:
    """The orthonormal DCT-II, float64 [n, n]: row k is the basis of frequency k."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)[None]
    basis = torch.cos(math.pi / n * (i + 0.5) * k) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis
