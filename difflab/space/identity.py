"""The chain runs over the data itself."""

from __future__ import annotations

from torch import Tensor

from .base import Encoded, Space


class Identity(Space):
    """z = x_0: no term is added, nothing is learned."""

    identity = True

    def shape_of(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(x_shape)

    def encode(self, x0: Tensor, noise: Tensor | None) -> Encoded:
        return Encoded(x0, {})

    def decode(self, z: Tensor) -> Tensor:
        return z
