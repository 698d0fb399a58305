"""The tables that follow from a ledger (`<stem>-variances.csv` and so on) -> what the page draws of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from textwrap import shorten as shortened
from typing import Any

import numpy as np

from ..bound.ledger import of_chain
from ..bound.rate import table4
from ..figure.pooling import log_edges
from ..tables import Columns
from .detail import Detail
from .numbers import short, spread

BANDS = 8
TIMES = 80  # characters of a chain's levels


def variances(table: Columns, unit: str, detail: Detail) -> dict[str, Any]:
    """Each variance's bound, and its contributions summed up over t = 1.. at the ends of bins of t."""
    names = [name for name, values in table.items() if name != "t" and values.dtype.kind in "if"]
    body = of_chain(table["term"])
    order = np.argsort(table["t"][body], kind="stable")
    t = table["t"][body][order]
    knots = log_edges(int(t.max()), 160)[1:] - 1
    upto = np.searchsorted(t, knots, side="right")

    def running(name: str) -> list[float | None]:
        values = np.nan_to_num(table[name][body][order].astype(float))
        return short(np.concatenate([[0.0], np.cumsum(values)])[upto])

    return {
        "totals": {name: float(np.nansum(table[name].astype(float))) for name in names},
        "t": knots.tolist(),
        "running": {name: running(name) for name in names},
    }


def chains(table: Columns, unit: str, detail: Detail) -> dict[str, Any]:
    """The K-step bounds, one row a (K, chain, variance), as they stand."""
    numbers = {
        "claimed": unit, "claimed_se": f"{unit}_se", "evaluated": "evaluated", "evaluated_se": "evaluated_se",
        "difference": "difference", "difference_se": "difference_se",
    }  # fmt: skip
    columns = {name: _optional(table, column) for name, column in numbers.items()}
    rows = [
        {
            "steps": int(k),
            "chain": str(chain),
            "variance": str(variance),
            "times": shortened(str(times), TIMES, placeholder=" …") if detail.few else "",
        }
        for k, chain, variance, times in zip(table["steps"], table["chain"], table["variance"], _times(table))
    ]
    return {"rows": [row | {name: columns[name][i] for name in numbers} for i, row in enumerate(rows)]}


def rate_distortion(table: Columns, unit: str, detail: Detail) -> dict[str, Any]:
    """Rate and distortion of the progressive code, t from T down to 1, and ten rows of it in the shape of DDPM's table 4."""
    order = np.argsort(-table["t"], kind="stable")
    names = ("log_snr", "rate", "rate_se", "distortion", "step_rate")
    columns: Columns = {name: np.array(_optional(table, name), dtype=float)[order] for name in names}
    columns["t"] = t = table["t"][order]
    tenths = table4(columns)
    near = np.flatnonzero(t <= 40).tolist()  # most of the bits are there
    kept = sorted({*spread(range(len(t)), detail.rates), *near})
    ends = {name: tenths[name].tolist() for name in ("t", "reverse_steps")}
    ends |= {name: short(tenths[name]) for name in ("rate", "part_rate", "distortion")}
    ends["rate_se"] = short(columns["rate_se"][np.isin(t, tenths["t"])])
    return {"t": t[kept].tolist(), "T": int(t.max()), "tenths": ends} | {
        name: short(columns[name][kept]) for name in names
    }


def bands(table: Columns, unit: str, detail: Detail) -> dict[str, Any]:
    """Mean error of each bin of t (mean of a step) in each frequency band, and each band's sum over t."""
    t = table["t"]
    edges = log_edges(int(t.max()))
    values = np.stack([table[f"band_{k}"].astype(float) for k in range(BANDS)], axis=1)
    error = np.stack([np.array(_optional(table, f"band_{k}_se"), dtype=float) for k in range(BANDS)], axis=1)
    cells, errors, kept = [], [], [int(edges[0])]
    for a, b in pairwise(edges):
        inside = (t >= a) & (t < b)
        known = inside & np.isfinite(values).all(1)
        if not known.any():
            if not cells:  # t = 1 is the decoder's: there is no mean error
                kept = [int(b)]
                continue
            cells.append([None] * BANDS)
            errors.append([None] * BANDS)
        else:
            cells.append(short(values[known].mean(0)))
            errors.append(short(error[known][0]) if known.sum() == 1 else [None] * BANDS)
        kept.append(int(b))
    return {"edges": kept, "values": cells, "se": errors, "sums": short(np.nansum(values, axis=0))}


def _optional(table: Columns, name: str) -> list[float | None]:
    """A numeric column; None where it is absent or empty (a column of empty fields reads as text)."""
    length = len(next(iter(table.values())))
    values = table.get(name)
    if values is None or values.dtype.kind not in "if":
        return [None] * length
    return [float(v) if math.isfinite(v) else None for v in values]


def _times(table: Columns) -> np.ndarray:
    return table.get("times", np.full(len(table["steps"]), ""))


TABLES: dict[str, Callable[[Columns, str, Detail], dict[str, Any]]] = {
    "variances": variances, "chains": chains, "rate_distortion": rate_distortion, "bands": bands,
}  # fmt: skip
