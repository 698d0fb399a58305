"""No tracker: metrics.jsonl alone holds the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import Curve, Rows, RunInfo, Tracker


class NoTracker(Tracker):
    """Takes everything, keeps only the id it was resumed with (so that a later start with W&B finds its run)."""

    def __init__(self) -> None:
        self._id: str | None = None

    @property
    def id(self) -> str | None:
        return self._id

    def start(self, run_dir: Path, config: Mapping[str, Any], run: RunInfo) -> None:
        self._id = run.id

    def log(
        self,
        step: int,
        scalars: Mapping[str, float | None],
        images: Mapping[str, Path] | None = None,
        curves: Mapping[str, Curve] | None = None,
        tables: Mapping[str, Rows] | None = None,
    ) -> None:
        return

    def summary(self, values: Mapping[str, float | str | None]) -> None:
        return

    def artifact(self, path: Path, name: str) -> None:
        return

    def finish(self, exit_code: int = 0) -> None:
        return
