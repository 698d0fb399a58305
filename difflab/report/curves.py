"""What a run's ledgers and its log say over t and over training, in as many points as a page can show."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import tables
from ..bound.ledger import Ledger, of_chain
from ..figure.pooling import log_edges, term, transitions
from ..gaussian import BITS, NATS
from .numbers import short, spread
from .reader import Reader


def curve(ledger: Ledger, points: int) -> dict[str, Any]:
    """The transition terms as pools of neighbouring t (sums over each pool) and the two terms at the ends."""
    pooled = transitions(ledger, points, fine_ends=True)
    names = ("log_snr_s", "log_snr_t", "value", "se", "mean_error", "variance_mismatch")
    ends = {
        name: [None if not math.isfinite(v) else v for v in term(ledger, name)] for name in ("decoder_nll", "prior_kl")
    }
    columns: dict[str, Any] = {name: short(getattr(pooled, name)) for name in names}
    whole = {name: getattr(pooled, name).tolist() for name in ("first", "last", "count")}
    return columns | whole | ends | {"T": int(ledger.columns["t"].max()), "largest": pooled.largest}


def running(ledger: Ledger, terms: Mapping[str, np.ndarray] | None) -> dict[str, Any]:
    """L_0 + the transitions up to t, with the standard error of that sum (from per-example sums: rows are correlated)."""
    column, T = ledger.columns, int(ledger.columns["t"].max())
    body = of_chain(column["term"])
    knots = np.unique(np.geomspace(1, T, 160).round()).astype(int)
    order = np.argsort(column["t"][body], kind="stable")
    t, values = column["t"][body][order], np.nan_to_num(column[ledger.unit.key][body][order])
    ends = np.searchsorted(t, knots, side="right")
    sums = np.concatenate([[0.0], np.cumsum(values)])[ends]
    log_snr = column["log_snr_t"][body][order][ends - 1]
    se = np.full(len(knots), math.nan)
    if terms is not None and len(terms["index"]) > 1:
        per_example = upto(terms, knots) / (int(terms["dims"]) * ledger.unit.nats)
        se = per_example.std(axis=0, ddof=1) / math.sqrt(len(per_example))
    return {"t": knots.tolist(), "log_snr": short(log_snr), "value": short(sums), "se": short(se)}


def upto(terms: Mapping[str, np.ndarray], knots: np.ndarray) -> np.ndarray:
    """Each example's sum of terms 1..t for each knot t, float64 [N, len(knots)] nats, from either layout of the file."""
    if "nats" in terms and terms["nats"].ndim == 2:
        starts = np.concatenate([[0], knots[:-1]])
        pieces = np.add.reduceat(terms["nats"][:, 1:], starts, axis=1, dtype=np.float64)
    else:
        n, cell = (
            len(terms["index"]),
            terms["example"].astype(np.int64) * len(knots) + np.searchsorted(knots, terms["t"]),
        )
        weighted = terms["weight"].astype(np.float64) * terms["nats"]
        pieces = np.bincount(cell, weighted, minlength=n * len(knots)).reshape(n, len(knots))
    return np.cumsum(pieces, axis=1)


def heat(reader: Reader, most: int) -> dict[str, Any] | None:
    """Mean term of each bin of t at each validation, and what the training steps before it said of the same t."""
    paths = sorted((reader.directory / "bound").glob("val_step_*.csv"))
    steps, values, seen = [], [], []
    edges = np.array([], dtype=int)
    for path in spread(paths, most):
        found = reader.read(f"bound/{path.name}", _terms)
        if found is None:
            continue
        if not len(edges):
            edges = log_edges(int(found[0].max()))
        steps.append(int(path.stem.rpartition("_")[2]))
        values.append(short(_binned(found[0], found[1], edges)))
        train = reader.read(f"bound/{path.name.replace('val_', 'train_', 1)}", _terms)
        seen.append(short(_binned(train[0], train[1], edges)) if train is not None and len(train[0]) else None)
    return {"steps": steps, "edges": edges.tolist(), "values": values, "training": seen} if steps else None


def _terms(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(t, contribution) of the rows t = 1..T."""
    table = tables.load(path)
    key = BITS.key if BITS.key in table else NATS.key
    body = of_chain(table["term"]) if "term" in table else slice(None)
    return table["t"][body], table[key][body].astype(float)


def _binned(t: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of the values in each [edge, next edge); NaN where there are none."""
    known = np.isfinite(values)
    bins, length = np.searchsorted(edges, t[known], side="right") - 1, len(edges) - 1
    inside = (bins >= 0) & (bins < length)
    count = np.bincount(bins[inside], minlength=length)
    total = np.bincount(bins[inside], values[known][inside], minlength=length)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)


def training(reader: Reader, most: int) -> dict[str, Any] | None:
    """The training steps' rows and the validations, from metrics.jsonl. More than `most` rows of training become means of
    neighbours, `pooled` rows each, at the step of the last of them."""
    rows = reader.read("metrics.jsonl", lambda path: _rows(path, reader.notes)) or []
    key = next((k for k in (BITS.key, NATS.key) if any(f"train/{k}" in r or f"val/{k}" in r for r in rows)), None)
    if key is None:
        return None

    def series(*names: str) -> np.ndarray:
        kept = [row for row in rows if isinstance(row.get(names[0]), int | float)]
        numbers = [[_number(row.get(name)) for name in ("step", *names)] for row in kept]
        return np.array(numbers, dtype=float).reshape(len(kept), len(names) + 1)

    train = series(
        f"train/{key}", *(f"train/{name}" for name in ("loss", "lr", "grad_norm", "images_per_s", "memory_gb"))
    )
    val = (key, f"{key}_se", f"{key}_optimal_variance", "mean_error", "variance_mismatch")
    pooled = max(1, math.ceil(len(train) / most))
    return {
        "train": [short(row) for row in _means(train, pooled)],
        "val": [short(row) for row in series(*(f"val/{name}" for name in val))],
        "pooled": pooled,
    }


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _means(rows: np.ndarray, pooled: int) -> list[np.ndarray]:
    """Means of `pooled` neighbours, the step (first column) that of the last; a value that is missing or not finite makes
    its mean missing: what went wrong is not smoothed away."""
    if pooled == 1:
        return list(rows)
    parts = [rows[i : i + pooled] for i in range(0, len(rows), pooled)]
    return [np.append(part[-1, 0], part[:, 1:].mean(0)) for part in parts]


def _rows(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The rows that can be read: a page of what is left is worth more than none."""
    rows, damaged = [], 0
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            if not isinstance(row["step"], int):
                raise ValueError("no row with a step")
            rows.append(row)
        except (ValueError, TypeError, KeyError):
            damaged += bool(line.strip())
    if damaged:
        notes.append(f"metrics.jsonl has {damaged} damaged {'line' if damaged == 1 else 'lines'}, left out.")
    return rows
