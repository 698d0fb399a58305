"""Run directories: their names, that they can be written, and that a refused run leaves none behind."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..errors import ConfigError

PARTS = ("schedule", "parameterization", "variance", "model")
# by what a task reads; PARTS where it has all the choices of a run
NAMED_AFTER = {"runs": (), "data": ("data",), "schedule": ("data", "schedule")}


def runs_root() -> Path:
    """Where runs are kept: DIFFLAB_RUNS, else runs/ of the working directory."""
    return Path(os.environ.get("DIFFLAB_RUNS") or "runs")


def default_directory(choices: Mapping[str, str], task: str, multirun: bool, reads: str | None = None) -> Path:
    """A name that no run has yet: DATE/TIME-...-XXXX. `reads`: task.reads."""
    now = datetime.now()
    parts = [now.strftime("%H-%M-%S")]
    if not multirun:
        parts += [task] if task != "train" else []
        parts += [choices.get(part, "").replace("/", "_") for part in NAMED_AFTER.get(reads or "", PARTS)]
    parent = runs_root() / ("multirun" if multirun else "") / now.strftime("%Y-%m-%d")
    while True:
        path = parent / "-".join([*filter(None, parts), secrets.token_hex(2)])
        if not path.exists():
            return path


def has_checkpoints(directory: Path) -> bool:
    """Whether a run was saved here."""
    found = (directory / "checkpoints").glob(
        "[!.]*/"
    )  # .NAME: what a process that was killed in its first save has left
    return any(found) if (directory / "checkpoints").is_dir() else False


@dataclass
class Prepared:
    """A directory made for a run, and what to remove again if the run is refused."""

    path: Path
    made: list[Path] = field(default_factory=list)  # outermost first
    record: dict[Path, bytes] = field(default_factory=dict)  # an older run's .hydra/, to be put back

    def undo(self) -> None:
        """Leave things as they were: only what this run began, never one that had results."""
        if self.path in self.made:
            if not has_checkpoints(self.path) and not _has_rows(self.path):
                shutil.rmtree(self.path, ignore_errors=True)
        else:
            for file, content in self.record.items():
                file.write_bytes(content)
        for directory in reversed(self.made):
            with suppress(OSError):
                directory.rmdir()  # only empty ones


def prepare(path: Path, key: str) -> Prepared:
    """Make a directory and prove that it can be written; ConfigError otherwise."""
    missing = [d for d in [path, *path.parents] if not d.exists()]
    prepared = Prepared(path, missing[::-1])
    probe = path / f".probe-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"difflab")
        probe.unlink()
        prepared.record = {file: file.read_bytes() for file in sorted((path / ".hydra").glob("*.yaml"))}
    except OSError as error:
        if probe.exists():
            probe.unlink(missing_ok=True)
        prepared.undo()
        reason = (error.strerror or "it cannot be written").lower()
        raise ConfigError(f"{key}={path} cannot be used ({reason}); choose a directory that can be written.") from error
    return prepared


def _has_rows(path: Path) -> bool:
    rows = path / "metrics.jsonl"
    return rows.is_file() and rows.stat().st_size > 0
