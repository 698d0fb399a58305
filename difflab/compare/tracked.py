"""A comparison as a run of its own beside those it compares: its tables and figures, in their tracker and their group."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import UNREADABLE, write_json
from ..tables import Columns
from ..tracker.base import Rows, RunInfo, Tracker
from .sources import configuration

RECORD = "comparison_tracker.json"  # {"id": the tracker's name of this comparison, "times": how often it was shown}
MOST = 10_000  # rows of a table; more are in the CSV


def recorded(jobs: Sequence[Path]) -> dict[str, Any] | None:
    """The `tracker` that jobs ran with, less what named or described a single run; None if they had none."""
    for job in jobs:
        node = configuration(job).get("tracker")
        if isinstance(node, Mapping) and node.get("kind", "none") != "none":
            return {**node, "name": None, "notes": None}
    return None


def group(jobs: Sequence[Path], sweep: Path | None) -> str | None:
    """What the jobs are grouped by: tracker.group as they recorded it, else the sweep's directory."""
    own = (recorded(jobs) or {}).get("group")
    return str(own) if own else sweep.name if sweep else None


def show(
    tracker: Tracker,
    out: Path,
    group: str | None,
    config: Mapping[str, Any],
    tables: Mapping[str, Columns],
    pictures: Mapping[str, Path],
    summary: Mapping[str, Any],
) -> None:
    """Log the comparison in `out`; a second time in that directory goes on with the same run. It never fails a comparison."""
    try:
        record = _record(out)
        info = RunInfo(name="comparison", group=group, job_type="compare", id=record["id"])
        tracker.start(out, config, info)
        code = 1
        try:
            if tracker.id:  # before anything is logged: whatever ends this, the next time finds it
                write_json(out / RECORD, {"id": tracker.id, "times": record["times"] + 1})
            shown = {key: path for key, path in pictures.items() if path.is_file()}
            rows = {key: as_rows(columns) for key, columns in tables.items() if columns}
            tracker.log(record["times"], {}, shown, None, rows)
            tracker.summary(summary)
            code = 0
        finally:
            tracker.finish(code)
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        print(
            f"the comparison is not in the tracker ({type(error).__name__}: {told}); its files are whole.",
            file=sys.stderr,
        )


def as_rows(columns: Columns) -> Rows:
    """The columns as rows of plain values, the first MOST; what is not known is None."""
    lists = [[_plain(value) for value in np.asarray(values[:MOST]).tolist()] for values in columns.values()]
    return Rows(list(columns), [list(row) for row in zip(*lists, strict=True)])


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _record(out: Path) -> dict[str, Any]:
    try:
        record = json.loads((out / RECORD).read_bytes())
        return {"id": str(record["id"]), "times": int(record["times"])}
    except UNREADABLE:
        return {"id": None, "times": 0}
