"""The swiss roll of Sohl-Dickstein et al. (2015): a spiral in two dimensions with Gaussian noise."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Vectors

START, END = 1.5 * math.pi, 4.5 * math.pi  # the angle, as in scikit-learn's make_swiss_roll: one and a half turns
PANEL = 8  # Gauss-Legendre nodes per panel along the spiral


class SwissRoll(Vectors):
    """x = scale (a cos a, a sin a) - centre + noise eps, a uniform on [1.5 pi, 4.5 pi], shifted and scaled to mean 0
    and average variance 1 per dimension, noise included (so L_null = -log2(2 pi e) bits per point, theory section 10).

    noise: standard deviation in these final units; the entropy, and with it any K, depends on it. Raises ConfigError
    for values out of range.
    """

    def __init__(
        self, *, noise: float, train_size: int, val_size: int, test_size: int, draw_seed: int, limit: int | None
    ) -> None:
        if not 0.002 <= noise <= 0.5:
            raise ConfigError(f"data.noise={noise} is out of range: give 0.002 to 0.5, in units of the data.")
        self.noise = noise
        angle, weight = _nodes(64)
        spiral = _spiral(angle)
        centre = weight @ spiral
        variance = float(weight @ (spiral - centre).square().sum(1)) / 2
        self._scale = math.sqrt((1 - noise**2) / variance)
        self._centre = centre * self._scale
        super().__init__(2, {"train": train_size, "val": val_size, "test": test_size}, draw_seed, limit)

    @property
    def source(self) -> str:
        return f"Draws from a swiss roll with noise {self.noise} on unit variance, after Sohl-Dickstein et al. 2015."

    def draw(self, count: int, seed: tuple[int, int]) -> tuple[Tensor, Tensor]:
        uniform = np.random.RandomState((*seed, 0)).random_sample(count)  # streams of their own: a longer set continues
        unit = torch.from_numpy(np.random.RandomState((*seed, 1)).standard_normal((count, 2)))
        clean = self._clean(START + (END - START) * torch.from_numpy(uniform))
        return clean + self.noise * unit, torch.zeros(count, dtype=torch.int64)

    def log_density(self, x: Tensor) -> Tensor:
        """By quadrature along the spiral, error below 1e-9 nats wherever the data lie."""
        centres, weight = self._mixture
        values = []
        for part in x.double().split(1024):
            square = (part[:, :1] - centres[:, 0]).square() + (part[:, 1:] - centres[:, 1]).square()
            values.append((weight.log() - square / (2 * self.noise**2)).logsumexp(1))
        return torch.cat(values) - math.log(2 * math.pi * self.noise**2)

    def entropy_nats(self) -> tuple[float, float]:
        """Trapezoid rule for -p log p on a grid of spacing noise/2: isotropic noise makes p a product of matrices."""
        centres, weight = self._mixture
        margin, spacing = 9 * self.noise, self.noise / 2

        def grid(axis: int) -> Tensor:
            low, high = float(centres[:, axis].min()) - margin, float(centres[:, axis].max()) + margin
            return torch.arange(low, high, spacing, dtype=torch.float64)

        def normal(at: Tensor, centre: Tensor) -> Tensor:
            unit = (at[:, None] - centre) / self.noise
            return torch.exp(-unit.square() / 2) / (math.sqrt(2 * math.pi) * self.noise)

        total, columns = 0.0, grid(1)
        for rows in grid(0).split(64):
            # the others' share is below 1e-17: of a narrow roll, most of the work
            near = (centres[:, 0] > rows[0] - margin) & (centres[:, 0] < rows[-1] + margin)
            density = (normal(rows, centres[near, 0]) * weight[near]) @ normal(columns, centres[near, 1]).T
            total -= float(torch.xlogy(density, density).sum())
        return total * spacing**2, 0.0

    def _clean(self, angle: Tensor) -> Tensor:
        return _spiral(angle) * self._scale - self._centre

    @cached_property
    def _mixture(self) -> tuple[Tensor, Tensor]:
        """(points [M, 2], weights [M]): the noiseless roll as a quadrature rule with nodes about noise/4 apart."""
        length = self._scale * (END**2 - START**2) / 2 + 2 * math.pi * self._scale  # bounds the arc's length from above
        angle, weight = _nodes(math.ceil(4 * length / self.noise / PANEL))
        return self._clean(angle), weight


def _spiral(angle: Tensor) -> Tensor:
    return torch.stack([angle * angle.cos(), angle * angle.sin()], 1)


def _nodes(panels: int) -> tuple[Tensor, Tensor]:
    """(angles, weights adding up to 1) of a composite Gauss-Legendre rule over [START, END]."""
    node, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(PANEL))
    edge = torch.linspace(START, END, panels + 1, dtype=torch.float64)
    half = (edge[1:] - edge[:-1])[:, None] / 2
    angle = edge[:-1, None] + half * (1 + node)
    return angle.flatten(), (half * weight / (END - START)).flatten()
