"""The first k principal directions; what is left of x is a Gaussian's: probabilistic PCA with a chain as its prior."""

from __future__ import annotations

import math

from ..errors import ConfigError
from ._linear import Linear


class Pca(Linear):
    """The bound is one on x, proper for every k: it pays for the residual, in a row of its own."""

    def __init__(self, shape: tuple[int, ...], levels: int | None, *, k: int) -> None:
        dims = math.prod(shape)
        if not 1 <= k <= dims:
            raise ConfigError(
                f"space.k={k} is no number of principal directions of data with {dims} dimensions: give 1..{dims}."
            )
        super().__init__(shape, levels, k, f"space=pca space.k={k}")
