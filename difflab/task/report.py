"""Runs as one self-contained HTML page: the bound, its terms and what follows from them, to look at in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..compare.names import directories, labels
from ..files import write_atomically
from ..mapping import record
from ..report.collect import collect
from ..report.page import render
from ..train import checkpoint

WALKED = 8  # runs of a page: a walk takes seconds and a page of many shows little of each


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=report runs=[A,B,...] or runs=MULTIRUN_DIR: report.html in this job's directory. What shows the mapping is made of
    the runs' checkpoints where it is missing (task.mapping), for at most WALKED runs."""
    runs = list(
        {path.resolve(): path for path in directories(config["runs"], "report")}.values()
    )  # a run given twice is one
    names = labels(runs)
    failed = {}
    if config["task"]["mapping"] and len(runs) <= WALKED:
        failed = {str(path): why for path in runs if (why := _walk(path, names[path], config, run_dir))}
    report = collect(runs, names)
    for shown in report["runs"]:
        shown["notes"] += [failed[shown["directory"]]] if shown["directory"] in failed else []
    page = render(report)
    path = write_atomically(run_dir / "report.html", lambda file: file.write(page))
    print(path, flush=True)
    return {"report": str(path)}


def _walk(directory: Path, name: str, config: dict[str, Any], run_dir: Path) -> str | None:
    """Make the record of task=mapping that a run lacks; why it cannot be made, if that is so. A run without a checkpoint has
    none, which is no fault of its."""
    if (newest := next(iter(checkpoint.newest_first(directory)), None)) is None or record.made_of(directory, newest):
        return None
    from ..config.schema import load_schema
    from ..job import sentence
    from . import mapping
    from .compare import evaluation
    from .evaluate import say

    say(f"{name}: no record of the mapping at {newest.name} yet, so it is walked (task.mapping=false leaves it out)")
    try:
        own = evaluation(directory, {**config["bound"], "precision": config["precision"]["evaluate"]}, config)
        option = load_schema().options["task"]["mapping"]
        mapping.run(own | {"task": {"name": option.name, **option.values}}, run_dir)
    except Exception as error:  # an extra: whatever a network or a disk does to it, the page comes
        return f"the mapping could not be walked: {sentence(error)}"
    return None
