"""From samples to medians, spreads, ratios and shares of the peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """Of one figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


def measured(row: Row) -> bool:
    return bool(row.get("samples"))


def rates(row: Row) -> list[float]:
    """Units a second, round by round."""
    return [sample["units"] / sample["seconds"] for sample in row["samples"]]


def rate(row: Row) -> Spread:
    return Spread.of(rates(row))


def ratio(row: Row, other: Row) -> Spread:
    """How many times as fast as the other, round by round: what disturbs a round disturbs both."""
    return Spread.of([a / b for a, b in zip(rates(row), rates(other), strict=True)])


def fastest(rows: Mapping[str, Row], ending: str) -> str | None:
    """The key of the fastest (by median) of the measured rows whose key has this ending."""
    chosen = {key: rate(row).median for key, row in rows.items() if key.endswith(ending) and measured(row)}
    return max(chosen, key=chosen.__getitem__) if chosen else None


def ideal_seconds(gflop: float, forward_only: bool, precision: str, peaks: Mapping[str, float]) -> float:
    """Of one unit, if its floating-point operations ran at the measured peak of a precision and nothing else took time; a
    backward pass has twice the operations of a forward."""
    product = peaks[f"matmul_{precision}"]
    forward, backward = max(peaks[f"conv_{precision}"], product), max(peaks[f"conv_{precision}_backward"], product)
    return gflop / forward + (0 if forward_only else 2 * gflop / backward)


def share_of_peak(row: Row, forward_only: bool, peaks: Mapping[str, float]) -> float:
    """Of the machine's peak in the precision that the row computes in. The peak is the best of several tries, so the best
    round is held against it."""
    precision = str(row["precision"]).split()[0]
    return rate(row).high * ideal_seconds(row["gflop"], forward_only, precision, peaks)


def limit(row: Row, forward_only: bool, peaks: Mapping[str, float]) -> float:
    """Units a second of the row's network at the whole peak of the machine's faster precision."""
    return max(1 / ideal_seconds(row["gflop"], forward_only, precision, peaks) for precision in ("fp32", "bf16"))


def exhaustive_nfe(measured: Row, se: float) -> float:
    """Network evaluations that the loop over all t needs for a standard error."""
    return measured["T"] * (measured["sd"] / se) ** 2
