"""The ledger as the tracker shows it: two tables that a dashboard draws as lines, and sixteen plain numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..tracker.base import Curve
from .pooling import Pooled, transitions

if TYPE_CHECKING:
    from ..bound.ledger import Ledger

POINTS = 1000  # of a curve: a dashboard draws no more, and every validation logs two
BUCKETS = 16


def per_t_curve(ledger: Ledger) -> Curve:
    """L_{t-1} of one step over t = 2..T (L_0 and L_T are scalars of their own and would flatten the rest)."""
    pooled = transitions(ledger, POINTS)
    rows = _rows(pooled, pooled.size)
    return Curve(["t", "log_snr", "L_t", "se"], rows, "t", "L_t", f"{ledger.unit.label} of one step, t = 2..T")


def per_log_snr_curve(ledger: Ledger) -> Curve:
    """L_{t-1} / (lambda_s - lambda_t) over log-SNR: the axis on which two schedules can be compared."""
    pooled = transitions(ledger, POINTS)
    columns = ["t", "log_snr", "L_per_log_snr", "se"]
    return Curve(
        columns, _rows(pooled, pooled.width), "log_snr", "L_per_log_snr", f"{ledger.unit.label} per unit of log-SNR"
    )


def _rows(pooled: Pooled, per: np.ndarray) -> list[list[float]]:
    """t, the middle of the jump in log-SNR, term and error per `per`; jumps to or from infinity are left out."""
    middle = (pooled.log_snr_s + pooled.log_snr_t) / 2
    table = np.stack([pooled.t, middle, pooled.value / per, pooled.se / per], axis=1)
    return [[float(x) for x in row] for row in table if np.isfinite(row[:3]).all()]


def buckets(ledger: Ledger) -> dict[str, float]:
    """bound/bucket_00 .. _15: sums over 16 equal groups of t = 1..T, L_0 in the first; with L_T they make the bound."""
    column = ledger.columns
    body = np.isin(column["term"], ("decoder_nll", "transition_kl"))
    t, values = column["t"][body], column[ledger.unit.key][body]
    group = (t - 1) * BUCKETS // int(t.max())
    sums = np.bincount(group, values, minlength=BUCKETS)
    return {f"bound/bucket_{k:02d}": float(total) for k, total in enumerate(sums)}
