"""Samples beside held-out data, and quality beside bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..quality.record import MANIFOLD
from .canvas import DECODER, TOTAL, canvas

INTERVAL = 1.96  # standard errors, 95%


def measures(record: Mapping[str, Any], path: Path, title: str = "") -> Path:
    """The distance, and the four measures of manifolds, of samples and of held-out examples in their place."""
    sides = (("samples", record, DECODER, "o"), ("held-out examples", record["held_out"], TOTAL, "s"))
    key = record["key"]
    with canvas(path, 9.0, 3.6) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 2))
        for number, (name, side, colour, marker) in enumerate(sides):
            shift = (number - 0.5) * 0.16
            style: dict[str, Any] = {"fmt": marker, "color": colour, "capsize": 3, "markersize": 6}
            values = [side[key], side[f"{key}_corrected"]]
            error = INTERVAL * side[f"{key}_se"]
            left.errorbar([0 + shift, 1 + shift], values, yerr=[error, error], **style)
            places = [place + shift for place in range(len(MANIFOLD))]
            values = [side[name] for name in MANIFOLD]
            errors = [INTERVAL * side[f"{name}_se"] for name in MANIFOLD]
            right.errorbar(places, values, yerr=errors, label=f"{side['examples']:,} {name}", **style)
        left.set_xticks([0, 1], ["as measured", "bias removed"])
        left.set_xlim(-0.5, 1.5)
        left.axhline(0, color="#222222", linewidth=1)
        left.set_ylabel(key.replace("_", " "))
        right.set_xticks(range(len(MANIFOLD)), MANIFOLD)
        right.set_ylim(bottom=0)
        right.axhline(1, color="#222222", linewidth=1)
        right.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        facts = f"{record['sampler']}, {record['steps']:,} steps; against {record['reference']:,} {record['split']} examples; 95% intervals"
        figure.suptitle(f"{title}\n{facts}".strip(), x=0.01, ha="left", fontsize=10)
    return path
