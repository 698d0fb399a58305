"""RUN/quality/STEM.json and .csv: what task=quality found; read without torch.

KEY, KEY_se, KEY_without[, KEY_corrected]   for frechet_FEATURES, precision, recall, density, coverage
held_out                                    the same of held-out examples in the place of samples, and how many
design                                      what must agree before two records are compared
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import tables
from ..files import UNREADABLE, write_json

FOLDER = "quality"
MANIFOLD = ("precision", "recall", "density", "coverage")


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def save(stem: Path, record: Mapping[str, Any]) -> Path:
    """STEM.json and the table of it, STEM.csv."""
    names = (record["key"], *MANIFOLD)
    columns = {"measure": np.array(names)}
    for side, figures in (("samples", record), ("held_out", record["held_out"])):
        for suffix in ("", "_se", "_corrected"):
            values = [figures.get(f"{name}{suffix}", math.nan) for name in names]
            columns[f"{side}{suffix}"] = np.array(values, dtype=float)
    tables.save(stem.with_name(f"{stem.name}.csv"), columns)
    return write_json(stem.with_name(f"{stem.name}.json"), dict(record))


def checked(record: dict[str, Any]) -> None:
    """An error of UNREADABLE unless a record has what its readers need."""
    key = record["key"]
    figures = [f"{name}{suffix}" for name in (key, *MANIFOLD) for suffix in ("", "_se")] + [
        f"{key}_corrected",
        "examples",
    ]
    for side in (record, record["held_out"]):
        for name in figures:
            if not math.isfinite(side[name]):
                raise ValueError(f"{name} is not finite")
    if not isinstance(record["design"], dict) or not all(map(math.isfinite, record[f"{key}_without"])):
        raise ValueError("its design or its jackknife is no such thing")
    for name in ("steps", "samples", "reference", "step"):
        record[name] = int(record[name])
    for name in ("features", "features_sha256", "sampler", "split"):
        record[name] = str(record[name])


def records(run: Path) -> list[dict[str, Any]]:
    """Those of a run, the highest step first; files that are none, or damaged, are left out."""
    found = []
    for path in sorted((run / FOLDER).glob("step_*.json")):
        try:
            record = json.loads(path.read_bytes())
            checked(record)
        except UNREADABLE:
            continue
        found.append(record | {"stem": path.stem})
    return sorted(found, key=lambda record: -record["step"])
