"""How far a sweep is, from its files: sweep.json says which jobs there are to be, each job's directory what became of it.

So the same answer is given during a sweep and after, here and on a cluster, whoever started the jobs.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import ConfigError
from ..files import PRUNED, UNREADABLE, write_json
from ..job import FAILED, NOT_DEFINED
from ..lock import NAME as LOCK
from .plan import Plan, Refused, Spec, Twin

FILE = "sweep.json"
ENDED = ("done", "pruned", "failed", "not defined")
STATES = (*ENDED, "running", "stopped", "waiting")


@dataclass(frozen=True)
class State:
    """Of a job. share: of its steps, where known; seconds: how long a finished one took, and training of that; message: why one
    failed."""

    state: str
    share: float = 0.0
    seconds: float | None = None
    training: float = 0.0
    message: str = ""


def save(directory: Path, plan: Plan) -> None:
    """Keep it, with the jobs of other calls of the same question in the same place."""
    before: Plan | None = None
    with suppress(ConfigError):
        before = load(directory)
    if before:
        names, cells = {job.name for job in plan.jobs}, [cell.cell for cell in (*plan.twins, *plan.refused)]
        plan = replace(
            plan,
            jobs=[*plan.jobs, *(job for job in before.jobs if job.name not in names)],
            twins=[*plan.twins, *(twin for twin in before.twins if twin.cell not in cells)],
            refused=[*plan.refused, *(cell for cell in before.refused if cell.cell not in cells)],
        )
    write_json(directory / FILE, asdict(plan))


def load(directory: Path) -> Plan:
    """What a sweep was to be. ConfigError if the directory holds none."""
    path = directory / FILE
    try:
        record = json.loads(path.read_bytes())
        jobs = [Spec(**job) for job in record.pop("jobs")]
        twins = [Twin(**twin) for twin in record.pop("twins")]
        refused = [Refused(**cell) for cell in record.pop("refused")]
        if strange := [job.name for job in jobs if not isinstance(job.name, str) or Path(job.name).name != job.name]:
            raise ValueError(f"{strange[0]} is no job's name")
        return Plan(jobs=jobs, twins=twins, refused=refused, **record)
    except UNREADABLE as error:
        why = "there is none" if not path.exists() else f"it cannot be read ({' '.join(str(error).split())})"
        raise ConfigError(f"{path}: {why}; give the directory of a sweep=NAME.") from error


def state(directory: Path) -> State:
    """What became of the job in a directory."""
    if message := _message(directory / NOT_DEFINED):
        return State("not defined", message=message)
    share = _share(directory)
    if _held(directory):
        return State("running", share)
    if (directory / "result.json").is_file():
        return State("done", 1.0, *_seconds(directory))
    if message := _message(directory / PRUNED):
        return State("pruned", share, message=message)
    if message := _message(directory / FAILED):
        return State("failed", share, message=message)
    return State("stopped", share) if (directory / ".hydra").is_dir() else State("waiting")


def states(directory: Path) -> dict[str, State]:
    """Of each job of a sweep; those of a search are what it has asked for so far."""
    plan = load(directory)
    names = (
        [path.name for path in sorted(directory.glob("trial*/"))] if plan.search else [job.name for job in plan.jobs]
    )
    return {name: state(directory / name) for name in names}


def ended(directory: Path, plan: Plan) -> bool:
    """Whether nothing of this plan is still to be done."""
    return bool(plan.search) or all(state(directory / job.name).state in ENDED for job in plan.jobs)


def left(states: Mapping[str, State], side_by_side: int) -> float | None:
    """Seconds until all are done, by what the finished ones took; None if none is."""
    done = [(s.seconds, s.training) for s in states.values() if s.seconds]
    open_ = [s.share for s in states.values() if s.state in ("running", "waiting", "stopped")]
    if not done:
        return None
    whole, training = (statistics.fmean(values) for values in zip(*done))  # after its last step a job is measured
    return sum(whole - share * training for share in open_) / max(1, min(side_by_side, len(open_)))


def counted(states: Mapping[str, State]) -> str:
    """12 done, 2 running, 14 waiting."""
    kinds = [s.state for s in states.values()]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in STATES if kind in kinds)


def _message(path: Path) -> str:
    with suppress(*UNREADABLE):
        return str(json.loads(path.read_bytes())["message"])
    return ""


def _share(directory: Path) -> float:
    """Of its training steps, by its last row."""
    with suppress(*UNREADABLE):
        with open(directory / "metrics.jsonl", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
            row = json.loads(file.read().splitlines()[-1])
        import yaml

        trainer = yaml.load(
            (directory / ".hydra" / "config.yaml").read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )["trainer"]
        return min(1.0, row["step"] / trainer["steps"])
    return 0.0


def _seconds(directory: Path) -> tuple[float | None, float]:
    """(how long a job took, its training)."""
    with suppress(*UNREADABLE):
        result = json.loads((directory / "result.json").read_bytes())
        parts = [result.get(f"{part}_seconds") or 0.0 for part in ("train", "validate", "evaluate", "space")]
        return float(sum(parts)) or None, float(parts[0])
    return None, 0.0


def _held(directory: Path) -> bool:
    """Whether a process has the directory: one of this machine that lives or, as far as is known from here, one elsewhere."""
    with suppress(*UNREADABLE):
        words = (directory / LOCK).read_text(encoding="utf-8").split()
        if words[-1] != socket.gethostname():
            return True
        os.kill(int(words[1]), 0)
        return True
    return False
