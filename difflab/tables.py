"""Tables as CSV files: columns by name, whole or absent, read back bit by bit."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_atomically

Columns = dict[str, np.ndarray]  # all of one length: floats, int64 or text
SPACE = "space_"  # what the names of the terms begin with that a space adds to a bound


def save(path: Path, columns: Mapping[str, np.ndarray]) -> Path:
    """Write the columns; NaN (not defined there) is an empty field."""

    def rows(file: Any) -> None:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(list(columns))
        for values in zip(*columns.values(), strict=True):
            writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in map(_plain, values)])

    return write_atomically(path, rows)


def columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Rows of alike keys as columns; none of no rows."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def load(path: Path) -> Columns:
    """The columns of a saved table: int64 where every field is a whole number, float64, or text."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    fields = zip(*rows, strict=True) if rows else ([] for _ in header)
    return {name: _column(list(values)) for name, values in zip(header, fields, strict=True)}


def _column(values: list[str]) -> np.ndarray:
    for kind in (np.int64, np.float64):
        try:
            return np.array([math.nan if v == "" and kind is np.float64 else kind(v) for v in values], dtype=kind)
        except ValueError:
            continue
    return np.array(values)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
