"""All principal directions, each scaled to variance 1: full-rank PCA."""

from __future__ import annotations

import math

from ._linear import Linear


class Whiten(Linear):
    """The Jacobian is exact, so a bound on z is one on x, in x's own unit: a grid's through uniform dequantisation."""

    def __init__(self, shape: tuple[int, ...], levels: int | None) -> None:
        super().__init__(shape, levels, math.prod(shape), "space=whiten")
