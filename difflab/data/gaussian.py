"""A Gaussian that is known exactly: the bound of the analytic predictor is its entropy."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Vectors


class Gaussian(Vectors):
    """N(mean, cov) with correlated dimensions of unequal variance; attributes mean [D], cov [D, D], float64.

    cov = U diag(l) U': U the orthonormal DCT-II basis, l geometric with largest/smallest = condition, scaled to
    trace(cov) = D. The mean is +offset, -offset, +offset, ... Raises ConfigError for values out of range.
    """

    def __init__(
        self,
        *,
        dims: int,
        condition: float,
        offset: float,
        train_size: int,
        val_size: int,
        test_size: int,
        draw_seed: int,
        limit: int | None,
    ) -> None:
        if not 1 <= dims <= 4096:
            raise ConfigError(f"data.dims={dims} is out of range: give 1..4096.")
        if not 1 <= condition <= 1e6:
            raise ConfigError(f"data.condition={condition} is out of range: give 1 (isotropic) to 1e6.")
        if not abs(offset) <= 100:
            raise ConfigError(f"data.offset={offset} is out of range: give -100 to 100; data are of about unit scale.")
        basis = _dct(dims)
        variances = condition ** -torch.linspace(0, 1, dims, dtype=torch.float64)
        variances = variances * dims / variances.sum()
        self.mean = offset * (1 - 2 * (torch.arange(dims) % 2).double())
        self.cov = basis.T @ variances.diag() @ basis
        self._root = basis.T * variances.sqrt()  # cov = root root'
        self._log_det = float(variances.log().sum())
        super().__init__(dims, {"train": train_size, "val": val_size, "test": test_size}, draw_seed, limit)

    @property
    def source(self) -> str:
        return f"Draws from a known Gaussian in {len(self.mean)} dimensions."

    def draw(self, count: int, seed: tuple[int, int]) -> tuple[Tensor, Tensor]:
        unit = torch.from_numpy(np.random.RandomState(seed).standard_normal((count, len(self.mean))))
        return self.mean + unit @ self._root.T, torch.zeros(count, dtype=torch.int64)

    def log_density(self, x: Tensor) -> Tensor:
        unit = torch.linalg.solve(self._root, (x.double() - self.mean).T)
        return -(unit.square().sum(0) + self._log_det + len(self.mean) * math.log(2 * math.pi)) / 2

    def entropy_nats(self) -> tuple[float, float]:
        return (len(self.mean) * math.log(2 * math.pi * math.e) + self._log_det) / 2, 0.0


def _dct(dims: int) -> Tensor:
    """Orthonormal DCT-II, float64 [D, D], one basis vector a row: a rotation without a random number."""
    k, d = torch.arange(dims, dtype=torch.float64)[:, None], torch.arange(dims, dtype=torch.float64)
    basis = torch.cos(math.pi * k * (d + 0.5) / dims) * math.sqrt(2 / dims)
    basis[0] /= math.sqrt(2)
    return basis
