"""What was measured of some weights, as their run or their export says it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ..files import UNREADABLE
from ..gaussian import BITS, NATS
from ..train import checkpoint
from . import archive

LOCAL = ("checkpoint", "files")  # where something lay


def recorded(source: Path, step: int, decoder: str) -> dict[str, Any]:
    """The figures of a checkpoint's EMA weights: result.json where it is of this step, else the newest evaluation of it that
    is of the run's own decoder; of an export, what it was exported with. {} if there is none."""
    if archive.is_export(source):
        return archive.record(source)["result"]
    home = checkpoint.run_of(source)
    own, others = home / "result.json", (home / "bound").glob(f"step_{step:08d}-*.json")
    for path in (own, *sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)):
        try:
            result = json.loads(path.read_bytes())
            if result["step"] == step and result["decoder"] == decoder and math.isfinite(_bound(result)):
                return {key: value for key, value in result.items() if key not in LOCAL}
        except UNREADABLE:
            continue
    return {}


def _bound(result: dict[str, Any]) -> float:
    return float(result[result["unit"] if result["unit"] in (BITS.key, NATS.key) else ""])
