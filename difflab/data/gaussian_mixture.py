"""A mixture of Gaussians: E[x0|x_t] has a closed form, the entropy a Monte Carlo figure with its error."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Vectors

ENTROPY_DRAWS = 2**18
ENTROPY_SEED = 20150307


class GaussianMixture(Vectors):
    """Attributes weights [K], means [K, D], covs [K, D, D], float64; a label is the component.

    Means lie on a circle in each pair of dimensions; every component is stretched along a direction of its own
    (variance spread^2 along it, a quarter of that across); weights rise linearly by a factor of two. All of it is then
    shifted and scaled by one number to mean 0 and average variance 1 per dimension. spread is in units of the
    circle's radius. Raises ConfigError for values out of range.
    """

    def __init__(
        self,
        *,
        dims: int,
        components: int,
        spread: float,
        train_size: int,
        val_size: int,
        test_size: int,
        draw_seed: int,
        limit: int | None,
    ) -> None:
        if not 1 <= dims <= 256:
            raise ConfigError(f"data.dims={dims} is out of range: give 1..256.")
        if not 1 <= components <= 64:
            raise ConfigError(f"data.components={components} is out of range: give 1..64.")
        if not 0.01 <= spread <= 10:
            raise ConfigError(f"data.spread={spread} is out of range: give 0.01 to 10 (1: the circle's radius).")
        k, d = torch.arange(components, dtype=torch.float64)[:, None], torch.arange(dims, dtype=torch.float64)
        weights = 1 + k[:, 0] / max(1, components - 1)
        weights = weights / weights.sum()
        angle = 2 * math.pi * k * (1 + d // 2) / components - math.pi / 2 * (d % 2)
        means = angle.cos()  # cos, sin of the angle in dimensions 0, 1; of twice the angle in 2, 3; ...
        axis = torch.cos(math.pi * k / components - math.pi / 2 * d)
        axis = axis / axis.norm(dim=1, keepdim=True)
        covs = spread**2 * (0.25 * torch.eye(dims, dtype=torch.float64) + 0.75 * axis[:, :, None] * axis[:, None, :])
        means = means - weights @ means
        variance = float(weights @ (means.square().sum(1) + covs.diagonal(dim1=1, dim2=2).sum(1))) / dims
        self.weights, self.means, self.covs = weights, means / math.sqrt(variance), covs / variance
        self._roots = torch.linalg.cholesky(self.covs)
        super().__init__(dims, {"train": train_size, "val": val_size, "test": test_size}, draw_seed, limit)

    @property
    def source(self) -> str:
        return f"Draws from a known mixture of {len(self.weights)} Gaussians in {self.means.shape[1]} dimensions."

    def draw(self, count: int, seed: tuple[int, int]) -> tuple[Tensor, Tensor]:
        uniform = np.random.RandomState((*seed, 0)).random_sample(count)  # streams of their own: a longer set continues
        unit = torch.from_numpy(np.random.RandomState((*seed, 1)).standard_normal((count, self.means.shape[1])))
        return self._place(torch.from_numpy(uniform), unit)

    def log_density(self, x: Tensor) -> Tensor:
        return (self._component_log_densities(x) + self.weights.log()).logsumexp(1)

    def entropy_nats(self) -> tuple[float, float]:
        """h(x) = h(x|k) + I(x; k): the first in closed form, so that only the second, at most log K, is sampled."""
        dims = self.means.shape[1]
        log_det = 2 * self._roots.diagonal(dim1=1, dim2=2).log().sum(1)
        given_k = float(self.weights @ (dims * math.log(2 * math.pi * math.e) + log_det)) / 2
        # Evenly spread uniforms share the draws out among the components: the between-component variance is gone.
        uniform = (torch.arange(ENTROPY_DRAWS, dtype=torch.float64) + 0.5) / ENTROPY_DRAWS
        unit = torch.from_numpy(np.random.RandomState(ENTROPY_SEED).standard_normal((ENTROPY_DRAWS, dims)))
        information = []
        for u, part in zip(uniform.split(2**14), unit.split(2**14), strict=True):
            x, k = self._place(u, part)
            log_q = self._component_log_densities(x)
            own = log_q.gather(1, k[:, None])[:, 0]
            information.append(own - (log_q + self.weights.log()).logsumexp(1))
        sampled = torch.cat(information)
        return given_k + float(sampled.mean()), float(sampled.std()) / math.sqrt(ENTROPY_DRAWS)

    def _place(self, uniform: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """(x [N, D], component [N]) from uniforms [N] and unit normals [N, D]."""
        k = torch.searchsorted(self.weights.cumsum(0), uniform, right=True).clamp(max=len(self.weights) - 1)
        return self.means[k] + (self._roots[k] @ unit[:, :, None])[:, :, 0], k

    def _component_log_densities(self, x: Tensor) -> Tensor:
        """float64 [N, K]: log N(x; mean_k, cov_k)."""
        difference = (x.double()[None] - self.means[:, None]).mT  # [K, D, N]
        unit = torch.linalg.solve_triangular(self._roots, difference, upper=False)
        log_det = self._roots.diagonal(dim1=1, dim2=2).log().sum(1)
        return (-unit.square().sum(1) / 2 - log_det[:, None] - x.shape[1] / 2 * math.log(2 * math.pi)).T
