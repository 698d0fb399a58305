"""A comparison in its runs' tracker: their group, one run of its own however often, never an end of the comparison."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from difflab.compare import tracked
from difflab.compare.tracked import as_rows, group, recorded, show
from difflab.tracker.base import RunInfo, Tracker


class Heard(Tracker):
    """Writes down what it is told; `breaks`: the method that fails in spite of its promise."""

    def __init__(self, breaks: str = "") -> None:
        self.said: dict[str, Any] = {}
        self._id: str | None = None
        self._breaks = breaks

    @property
    def id(self) -> str | None:
        return self._id

    def _hear(self, name: str, *told: Any) -> None:
        self.said[name] = told
        if name == self._breaks:
            raise RuntimeError("it broke\nin two")

    def start(self, run_dir: Path, config: Any, run: RunInfo) -> None:
        self._id = run.id or "new"
        self._hear("start", config, run)

    def log(self, step: int, scalars: Any, images: Any = None, curves: Any = None, tables: Any = None) -> None:
        self._hear("log", step, images, tables)

    def summary(self, values: Any) -> None:
        self._hear("summary", values)

    def artifact(self, path: Path, name: str) -> None:
        raise AssertionError

    def finish(self, exit_code: int = 0) -> None:
        self._hear("finish", exit_code)


def shown(tracker: Tracker, out: Path) -> None:
    (out / "a.png").touch()
    pictures = {"comparison/a": out / "a.png", "comparison/b": out / "b.png"}
    tables = {"comparison/table": {"run": np.array(["x"]), "y": np.array([math.nan])}, "comparison/none": {}}
    show(tracker, out, "sweep", {"varied": {}}, tables, pictures, {"best": "x"})


def test_a_second_time_goes_on_with_the_same_run(tmp_path: Path) -> None:
    first, second = Heard(), Heard()
    shown(first, tmp_path)
    config, run = first.said["start"]
    assert (run.group, run.job_type, run.id, config) == ("sweep", "compare", None, {"varied": {}})
    step, images, tables = first.said["log"]
    assert step == 0 and list(images) == ["comparison/a"] and list(tables) == ["comparison/table"]
    assert tables["comparison/table"].rows == [["x", None]] and first.said["finish"] == (0,)
    assert first.said["summary"] == ({"best": "x"},)
    shown(second, tmp_path)
    assert second.said["start"][1].id == "new" and second.said["log"][0] == 1
    (tmp_path / tracked.RECORD).write_text("{")
    shown(third := Heard(), tmp_path)
    assert third.said["start"][1].id is None


@pytest.mark.parametrize("breaks", ["start", "log", "summary", "finish"])
def test_it_never_ends_the_comparison(tmp_path: Path, breaks: str, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Heard(breaks)
    shown(tracker, tmp_path)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "RuntimeError: it broke in two" in err
    assert tracker.said.get("finish", (1,)) == ((0,) if breaks == "finish" else (1,))


def test_the_tracker_and_the_group_are_the_jobs(tmp_path: Path) -> None:
    jobs = []
    for i, node in enumerate(
        ({"kind": "none"}, {"kind": "wandb", "group": None, "name": "mine", "notes": "why"}, None)
    ):
        (tmp_path / str(i) / ".hydra").mkdir(parents=True)
        (tmp_path / str(i) / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"tracker": node} if node else {}))
        jobs.append(tmp_path / str(i))
    assert recorded(jobs) == {"kind": "wandb", "group": None, "name": None, "notes": None}
    assert recorded([jobs[0], jobs[2]]) is None
    assert group(jobs, Path("a/sweep")) == "sweep" and group(jobs, None) is None
    (jobs[1] / ".hydra" / "config.yaml").write_text(json.dumps({"tracker": {"kind": "wandb", "group": "g"}}))
    assert group(jobs, Path("a/sweep")) == "g"


def test_long_tables_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked, "MOST", 2)
    rows = as_rows({"a": np.arange(5), "b": np.array([1.0, math.inf, 2, 3, 4])})
    assert rows.columns == ["a", "b"] and rows.rows == [[0, 1.0], [1, None]]
