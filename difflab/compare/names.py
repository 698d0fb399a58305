"""Which runs, and what to call them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..files import PRUNED


def directories(given: str | Sequence[str] | None, task: str = "compare") -> list[Path]:
    """The run directories of runs=[A,B,...] or runs=MULTIRUN_DIR for a task. ConfigError if there are none."""
    listed = [given] if isinstance(given, str) else given or []
    for path in listed:
        if not isinstance(path, str) or not path:
            raise ConfigError(
                f"runs holds {path!r}, which is no directory; give runs=[RUN_DIR,RUN_DIR,...] or runs=MULTIRUN_DIR."
            )
    paths = [Path(path) for path in listed]
    if not paths:
        raise ConfigError(f"runs=null: task={task} needs runs=[RUN_DIR,RUN_DIR,...] or runs=MULTIRUN_DIR.")
    found: list[Path] = []
    for path in paths:
        runs = [path] if (path / ".hydra").is_dir() else job_directories(path)
        if not runs:
            raise ConfigError(f"runs: {path} holds no run; give run directories or a multirun directory.")
        found += runs
    return found


def job_directories(multirun_dir: Path) -> list[Path]:
    """The jobs of a sweep in their order, without those that a search ended early."""
    found = multirun_dir.iterdir() if multirun_dir.is_dir() else []
    jobs = [d for d in found if (d / ".hydra").is_dir() and not (d / PRUNED).exists()]
    return sorted(jobs, key=lambda d: (0, int(d.name), "") if d.name.isdigit() else (1, 0, d.name))


def labels(directories: Sequence[Path]) -> dict[Path, str]:
    """What distinguishes each run: the overrides that not all of them share (or the directory's name)."""
    named = distinguishing(directories)
    for longer in ({d: f"{name} ({d.name})" for d, name in named.items()}, {d: str(d) for d in named}):
        if len(set(named.values())) == len(named):
            break
        named = longer
    return named


def distinguishing(directories: Sequence[Path], without: Sequence[str] = ()) -> dict[Path, str]:
    """The same, which several runs may share; overrides of the keys `without` left out."""
    overrides = {}
    for directory in directories:
        path = directory / ".hydra" / "overrides.yaml"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        own = [line[2:].strip("'\"") for line in lines if line.startswith("- ")]
        overrides[directory] = [line for line in own if line.partition("=")[0] not in without]
    shared = set.intersection(*(set(o) for o in overrides.values())) if overrides else set()
    return {d: " ".join(x for x in own if x not in shared) or d.name for d, own in overrides.items()}
