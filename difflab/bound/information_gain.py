"""A bound in the units of Sohl-Dickstein et al. (2015), table 1: bits gained over a model without structure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..gaussian import Unit

if TYPE_CHECKING:
    from ..data.base import Null


def information_gain(result: Mapping[str, Any], unit: Unit, null: Null) -> dict[str, Any]:
    """K = -L in bits, higher is better, for each `null.per` (values counted together), and K - L_null, with standard errors.

    result: holds the bound in the unit under its key, its standard error under key + _se and, where the entropy is known,
    that in floors: then `ceiling` is the largest K there is. Of a density K = values (log2(deviation) - L / ln 2), that of the
    data divided by `deviation`: the density of x / deviation is that of x times deviation for each dimension, so K does not
    depend on the units of x, as long as `deviation` is theirs. Deviation and L_null are the law's own and have no error.
    """
    bit = unit.nats / math.log(2)  # bits in one unit
    shift = 0.0 if null.deviation is None else math.log2(null.deviation)

    def bits(value: float) -> float:
        return null.values * (shift - value * bit)

    K, se = bits(result[unit.key]), null.values * result[f"{unit.key}_se"] * bit
    entropy = result["floors"].get("entropy")
    return {
        "K": K, "K_se": se, "L_null": null.bits, "K_minus_L_null": K - null.bits, "K_minus_L_null_se": se,
        "ceiling": None if entropy is None else bits(entropy),
        "deviation": null.deviation,
        "per": null.per,
    }  # fmt: skip
