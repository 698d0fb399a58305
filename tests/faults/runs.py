"""A run of seconds, and what must be equal of two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from difflab.train import checkpoint
from difflab.train.metrics import read

TINY = [
    "model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16", "schedule.T=12", "trainer.steps=12",
    "trainer.batch_size=8", "trainer.log_every=1", "trainer.val_every=4", "checkpoint.every=2", "checkpoint.keep_last=3",
    "trainer.precision=fp32", "timestep.history=2", "bound.examples=6", "bound.times=3", "bound.exact_steps=2",
    "validation.examples=4", "preview.steps=2", "preview.count=4", "sampler.steps=3", "sampler.count=4", "fit.examples=8",
    "chains.verify=[4]", "chains.examples=4", "data.limit=40", "tracker=none",
]  # fmt: skip
CLOCKS = {"train/images_per_s", "train/memory_gb"}


def has_rows(run: Path) -> bool:
    """Whether it has trained and logged a step."""
    file = run / "metrics.jsonl"
    return file.exists() and file.stat().st_size > 0


def rows(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what clocks say."""
    found = []
    for row in read(run / "metrics.jsonl"):
        if "summary" in row:
            row["summary"] = _measured(row["summary"])
        found.append({key: value for key, value in row.items() if key not in CLOCKS})
    return found


def result(run: Path) -> dict[str, Any]:
    loaded = json.loads((run / "result.json").read_text())
    return _measured(loaded)


def _measured(figures: dict[str, Any]) -> dict[str, Any]:
    """Without the cost: time, and evaluations besides (of which a run that goes on needs fewer)."""
    return {key: value for key, value in figures.items() if not key.endswith("seconds") and not key.startswith("nfe_")}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves of a state by their paths; times left out."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, inner in items for k, v in flat(inner, f"{path}/{key}").items()}
    clocked = ("seconds", "tracker_id", "metrics/sha256")  # a row says how fast it was
    return {} if path.endswith(clocked) else {path: value}


def assert_equal(run: Path, other: Path) -> None:
    """Two finished runs: every row, every figure, every number of the last checkpoint."""
    assert rows(run) == rows(other)
    assert result(run) == result(other)
    a, b = (flat(checkpoint.load(checkpoint.latest(path))) for path in (run, other))
    assert a.keys() == b.keys()
    for name, value in a.items():
        same = value.equal(b[name]) if hasattr(value, "equal") else value == b[name]
        assert same, name
    lines = (run / "metrics.jsonl").read_bytes().split(b"\n")
    assert lines[-1] == b"" and all(lines[:-1])
