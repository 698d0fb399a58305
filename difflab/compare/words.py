"""Figures and cells as people read them."""

from __future__ import annotations

import math

from .paired import Differences


def interval(differences: Differences, i: int) -> str:
    return between(*(float(x[i]) for x in (differences.mean, differences.low, differences.high)))


def between(mean: float, low: float, high: float) -> str:
    """A signed figure with its interval, where that is known."""
    if math.isnan(low):
        return signed(mean)
    form = "+.4f" if mean == low == high == 0 or max(abs(low), abs(high)) >= 5e-4 else "+.1e"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def signed(value: float) -> str:
    return f"{value:+.4f}" if value == 0 or abs(value) >= 5e-4 else f"{value:+.1e}"


def number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or value >= 5e-4 else f"{value:.1e}"


def value(value: float, se: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.4f}" if math.isnan(se) else f"{value:.4f} ± {se:.4f}"


def error(se: float) -> str:
    return "" if math.isnan(se) else f"± {number(se)}"


def rounded(value: float) -> str:
    """Two significant digits, in full."""
    if not math.isfinite(value):
        return "an unknown number of"
    step = 10 ** max(len(str(int(abs(value)))) - 2, 0)
    return f"{round(value / step) * step:,}"


def sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
