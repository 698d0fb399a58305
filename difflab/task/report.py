"""Runs as one self-contained HTML page: the bound, its terms and what follows from them, to look at in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..compare.names import directories, labels
from ..files import write_atomically
from ..report.collect import collect
from ..report.page import render


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=report runs=[A,B,...] or runs=MULTIRUN_DIR: report.html in this job's directory."""
    runs = list(
        {path.resolve(): path for path in directories(config["runs"], "report")}.values()
    )  # a run given twice is one
    page = render(collect(runs, labels(runs)))
    path = write_atomically(run_dir / "report.html", lambda file: file.write(page))
    print(path, flush=True)
    return {"report": str(path)}
