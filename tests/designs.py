"""Estimators with everything said that a test does not speak of."""

from __future__ import annotations

from typing import Any

from difflab.bound.stratified import Stratified


def stratified(times: int, exact_steps: int, **changes: Any) -> Stratified:
    """One draw of every example; `changes`: any other key of the design."""
    values = {
        "examples": None, "draws": 1, "last_steps": 0, "target_se": None, "clip_x0": False, "seed": 3, "batch_size": 8192
    }  # fmt: skip
    return Stratified(times=times, exact_steps=exact_steps, **{**values, **changes})
