"""Cells of a grid that train the same network: trained once, scored apart.

A loss that holds no term of the bound never reads a fixed variance, and every measurement scores its mean with each of the
known variances; hybrid's bound term reaches nothing but a learned variance. So of the 48 cells of {mu, eps, x0, v} x
{learned_diagonal, learned_range, fixed_beta, fixed_beta_tilde} x {vlb, simple, hybrid} 8 are not defined and 28 are
trainings. (tests/sweep/test_twins.py trains them all and compares the weights.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ISOTROPIC = ("fixed_beta", "fixed_beta_tilde", "optimal")  # priced by every measurement, whichever the run has


def trained_as(config: Mapping[str, Any]) -> dict[str, str]:
    """The choices (group -> option) to be trained in place of a configuration's own; empty if it has no twin."""
    name = {group: config[group]["name"] for group in ("objective", "variance", "timestep", "decoder")}
    if name["variance"] not in ISOTROPIC or name["decoder"].startswith("learned_"):  # those learn from the bound
        return {}
    as_simple = {"objective": "simple"} if name["objective"] == "hybrid" else {}
    adaptive = name["timestep"] == "importance"  # it looks at the bound's terms, which a variance changes
    if adaptive or not (as_simple or name["objective"] == "simple"):
        return as_simple
    return as_simple | ({"variance": "fixed_beta"} if name["variance"] != "fixed_beta" else {})
