"""z = diag(l)^(-1/2) U' (y - m): the principal directions of the training data, each scaled to variance 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..gaussian import BITS, NATS
from ..tables import SPACE
from .base import Encoded, Lesson, Lessons, Space

MAX_DIMS = 4096  # the covariance and its eigenvectors are 134 MB each, and two minutes of work
CHUNK = 4096
VOLUME, RESIDUAL = f"{SPACE}volume", f"{SPACE}residual"


class Linear(nn.Module, Space):
    """The first k principal directions, and where k < dims a Gaussian of variance s2 for each of the others.

    Data on a grid are dequantised: y = x_0 + w u with u uniform in [-1/2, 1/2) and w = 2 / (levels - 1), the width of a
    bin, so that -log P(x) <= E[-log p(y)] - dims log w (Theis et al. 2016). Continuous data have w = 1 and no noise.
    m, l, U: mean, eigenvalues and eigenvectors of y over the training split, float64, the noise's variance w^2/12 counted
    in closed form; s2: the mean of the eigenvalues left out. With r = y - m less its part along U,

        volume   = 1/2 sum log l - k log w                                       log|det| of z -> y, lengths in bins
        residual = ||r||^2 / (2 s2) + (dims - k)/2 log(2 pi s2) - (dims - k) log w

    and with z ~ N(0, I) in place of the chain the whole is the Gaussian (k = dims) or probabilistic PCA (Tipping &
    Bishop 1999, at its maximum likelihood).
    """

    mean: Tensor  # m, float64 [dims]
    basis: Tensor  # U, float64 [dims, k]
    eigenvalues: Tensor  # l, float64 [k]
    residual_var: Tensor  # s2, float64
    learned: Tensor  # bool

    def __init__(self, shape: tuple[int, ...], levels: int | None, k: int, choice: str) -> None:
        super().__init__()
        self.x_shape, self.dims, self.k = tuple(shape), math.prod(shape), k
        if self.dims > MAX_DIMS:
            raise ConfigError(
                f"{choice} takes data of at most {MAX_DIMS:,} dimensions, and these have {self.dims:,}; choose smaller pictures or space=autoencoder."
            )
        self.choice = choice
        self.width = 2 / (levels - 1) if levels else None
        self.unit = BITS if levels else NATS
        self.terms = (VOLUME, RESIDUAL) if k < self.dims else (VOLUME,)
        self.register_buffer("mean", torch.zeros(self.dims, dtype=torch.float64))
        self.register_buffer("basis", torch.zeros(self.dims, k, dtype=torch.float64))
        self.register_buffer("eigenvalues", torch.zeros(k, dtype=torch.float64))
        self.register_buffer("residual_var", torch.zeros((), dtype=torch.float64))
        self.register_buffer("learned", torch.zeros((), dtype=torch.bool))

    @property
    def ready(self) -> bool:
        return bool(self.learned)

    def shape_of(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.k,)

    def noise_of(self, x_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        return self.x_shape if self.width else None

    @torch.no_grad()
    def encode(self, x0: Tensor, noise: Tensor | None) -> Encoded:
        y = x0.flatten(1).double()
        if self.width:
            assert noise is not None
            y = y + self.width * (torch.special.ndtr(noise.flatten(1).double()) - 0.5)
        centred = y - self.mean
        along = centred @ self.basis
        bin_term = math.log(self.width) if self.width else 0.0
        volume = 0.5 * self.eigenvalues.log().sum() - self.k * bin_term
        parts = {VOLUME: volume.expand(len(y))}
        if rest := self.dims - self.k:
            square = (centred - along @ self.basis.T).square().sum(1)
            log_var = self.residual_var.log() + math.log(2 * math.pi)
            parts[RESIDUAL] = square / (2 * self.residual_var) + rest * (0.5 * log_var - bin_term)
        return Encoded((along * self.eigenvalues.rsqrt()).float(), parts)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        y = (z.double() * self.eigenvalues.sqrt()) @ self.basis.T + self.mean
        return y.float().reshape(-1, *self.x_shape)

    def plain_nll(self, z: Tensor) -> Tensor | None:
        return 0.5 * (z.double().square().sum(1) + self.k * math.log(2 * math.pi))

    @torch.no_grad()
    def learn(self, lessons: Lessons, progress: Mapping[str, Any]) -> Iterator[Lesson]:
        """One pass over the training split, then the eigenvectors; interrupted, it begins anew."""
        count = len(lessons.x)
        # some place near the mean, so that nothing cancels when the mean itself is subtracted at the end
        first = lessons.to_unit(lessons.x[torch.arange(min(CHUNK, count))]).flatten(1).double()
        origin, done = first.mean(0).cpu(), 0
        total, square = torch.zeros_like(origin), torch.zeros(self.dims, self.dims, dtype=torch.float64)
        for part in lessons.x.split(CHUNK):
            centred = lessons.to_unit(part).flatten(1).double().cpu() - origin
            total += centred.sum(0)
            square.addmm_(centred.T, centred)
            done += len(part)
            yield Lesson(done, count, {})
        shift = total / count
        self.set(origin + shift, square / count - torch.outer(shift, shift))

    @torch.no_grad()
    def set(self, mean: Tensor, covariance: Tensor) -> None:
        """From the moments of the data before dequantisation, float64 on the CPU. ConfigError where no density is left."""
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)  # the largest first
        values = values + (self.width**2 / 12 if self.width else 0.0)
        kept, others = values[: self.k], values[self.k :]
        residual_var = others.mean() if len(others) else values.new_zeros(())
        if not bool((residual_var if len(others) else kept[-1]) > 1e-12 * values[0]):
            raise ConfigError(
                f"{self.choice}: the training data span too few of their {self.dims} dimensions (too few examples, or dimensions that others "
                "determine), so no density in all of them is finite; take more examples (data.limit, data.train_size) or space=identity."
            )
        # an eigenvector has no sign: its largest entry is positive, whatever library computed it
        largest = vectors.abs().argmax(0, keepdim=True)
        vectors = vectors * vectors.gather(0, largest).sign()
        self.mean.copy_(mean)
        self.basis.copy_(vectors[:, : self.k])
        self.eigenvalues.copy_(kept)
        self.residual_var.copy_(residual_var)
        self.learned.fill_(True)
