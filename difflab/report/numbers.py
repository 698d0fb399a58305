"""Numbers as a page can carry them: few digits, no NaN, few points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")


def short(values: Iterable[Any]) -> list[float | None]:
    """Six significant digits: what a curve can show; None (JSON has no NaN) where a value is not finite."""
    return [_short(value) for value in values]


def _short(value: Any) -> float | None:
    if not isinstance(value, int | float | np.number) or not math.isfinite(value):
        return None
    number = float(f"{float(value):.6g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))]
