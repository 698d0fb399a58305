"""A bound on a density in the units of Sohl-Dickstein et al. (2015), table 1: bits gained over an isotropic Gaussian."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

L_NULL = -math.log2(2 * math.pi * math.e) / 2  # bits/dim: unit-variance data under N(0, I)


def information_gain(result: Mapping[str, Any], key: str, shape: tuple[int, ...], deviation: float) -> dict[str, Any]:
    """K = -L in bits, higher is better, of the data divided by `deviation` (to unit variance), and K - L_null, with
    standard errors. For each point of vectors [D], for each pixel of pictures [C, H, W]: D or C values together.

    result: holds the bound in nats/dim under `key`, its standard error under `key`_se and, where the entropy is known, that
    in floors: then `ceiling` is the largest K there is. K = values (log2(deviation) - L / ln 2): the density of x / deviation
    is that of x times deviation for each dimension, so K does not depend on the units of x, as long as `deviation` is theirs.
    L_null is the density's own, -values log2(2 pi e) / 2, not a split's; deviation and L_null have no error.
    """
    values = shape[0]

    def bits(nats: float) -> float:
        return values * (math.log2(deviation) - nats / math.log(2))

    K, se, null = bits(result[key]), values * result[f"{key}_se"] / math.log(2), values * L_NULL
    gain = {"K": K, "K_se": se, "L_null": null, "K_minus_L_null": K - null, "K_minus_L_null_se": se}
    entropy = result["floors"].get("entropy")
    return gain | {
        "ceiling": None if entropy is None else bits(entropy),
        "deviation": deviation,
        "per": "pixel" if len(shape) == 3 else "point",
    }
