"""A search: Optuna's study goes on where it was, asks within its space, prunes what is worse than the median."""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from difflab import tables
from difflab.cli import main
from difflab.errors import ConfigError
from difflab.sweep.plan import Plan, Spec

optuna = pytest.importorskip("optuna")
SPACE = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "objective": ["vlb", "hybrid"],
    "trainer.batch_size": {"low": 8, "high": 24, "step": 8},
}
HOW: dict[str, Any] = {"seed": 0, "prune": True, "startup": 2, "warmup": 0}


def study(directory: Path, trials: int = 12, **how: Any) -> Any:
    from difflab.sweep.search import Study

    return Study(
        directory, Plan("q", "Q?", "", [Spec("trial", ["seed=0"], {})], search=SPACE, trials=trials), **(HOW | how)
    )


def loss(cell: dict[str, str]) -> float:
    return (math.log10(float(cell["optimizer.lr"])) + 3) ** 2 + (cell["objective"] == "hybrid")


def test_it_asks_within_its_space_and_finds_what_is_best(tmp_path: Path) -> None:
    searching = study(tmp_path, trials=30)
    for spec in searching.specs():
        assert 1e-4 <= float(spec.cell["optimizer.lr"]) <= 1e-1
        assert spec.cell["trainer.batch_size"] in ("8", "16", "24")
        assert spec.overrides[0] == "seed=0" and len(spec.overrides) == 4
        searching.tell(spec.name, loss(spec.cell), pruned=False)
    said = searching.save()
    assert said.startswith("30 of 30 trials to their end, 0 pruned, 0 failed; best validation ")
    found = tables.load(tmp_path / "trials.csv")
    assert found["validation"][0] == min(found["validation"]) < 0.1
    assert found["objective"][0] == "vlb"


def test_it_goes_on_where_it_was_with_what_was_at_work(tmp_path: Path) -> None:
    first = study(tmp_path)
    asked = first.specs()
    done, open_ = next(asked), next(asked)
    first.tell(done.name, 1.0, pruned=False)
    second = study(tmp_path)
    again = [*second.specs()]
    assert (again[0].name, again[0].cell) == (open_.name, open_.cell)
    assert done.name not in [spec.name for spec in again]
    cells = [tuple(spec.cell.items()) for spec in (done, *again)]
    assert len(set(cells)) == len(cells)  # a generator that begins anew asks what was asked
    assert len(again) == 11
    second.tell(open_.name, math.inf, pruned=False)
    assert "1 of 12 trials to their end, 0 pruned, 1 failed" in second.save()


class AtWork:
    """A job that a pool would run."""

    def __init__(self, name: str) -> None:
        self.job = types.SimpleNamespace(name=name)
        self.stopped: str | None = None

    def stop(self, why: str) -> None:
        self.stopped = why


def validated(directory: Path, *values: float) -> None:
    directory.mkdir(exist_ok=True)
    rows = [{"step": 5 * (i + 1), "val/bpd": value, "train/bpd": 1.0} for i, value in enumerate(values)]
    (directory / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"step": 99, "val/b')


def test_what_is_worse_than_the_median_at_its_step_is_pruned(tmp_path: Path) -> None:
    searching = study(tmp_path)
    asked = searching.specs()
    for values in ((5.0, 3.0), (5.0, 3.2)):
        spec = next(asked)
        validated(tmp_path / spec.name, *values)
        searching.prune([AtWork(spec.name)])
        searching.tell(spec.name, values[-1], pruned=False)
    good, bad = next(asked), next(asked)
    validated(tmp_path / good.name, 4.9, 2.9)
    validated(tmp_path / bad.name, 4.9, 3.5)
    jobs = [AtWork(good.name), AtWork(bad.name)]
    searching.prune(jobs)
    assert jobs[0].stopped is None
    assert jobs[1].stopped == "validation 3.5000 at step 10 is worse than the median of the others there"
    assert json.loads((tmp_path / bad.name / "pruned.json").read_text())["step"] == 10
    calm = study(tmp_path / "other", prune=False) if (tmp_path / "other").mkdir() is None else None
    assert calm is not None


def test_a_space_that_cannot_be_is_refused(tmp_path: Path) -> None:
    from difflab.sweep.search import Study

    space = {"trainer.batch_size": {"low": 8, "high": 24, "log": True, "step": 8}}
    with pytest.raises(ConfigError, match="search.trainer.batch_size="):
        Study(tmp_path, Plan("q", "Q?", "", [Spec("trial", [], {})], search=space, trials=1), **HOW)


def test_without_optuna_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'difflab\[optuna\]'"):
        study(tmp_path)


def test_through_another_launcher_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[float] = []

    def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        seen.append(config["optimizer"]["lr"])
        if len(seen) == 2:
            raise RuntimeError("came off")
        return {"objective": (math.log10(seen[-1]) + 3) ** 2}

    module = types.ModuleType("difflab.task.train")
    module.__dict__["run"] = run
    monkeypatch.setitem(sys.modules, "difflab.task.train", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFLAB_RUNS", str(tmp_path / "runs"))
    line = ["sweep=learning_rate", "tracker=none", "hydra/launcher=basic", "hydra.sweeper.at_once=8"]
    assert main(line) == 1  # one failed
    assert len(seen) == 24
    assert "23 of 24 trials to their end, 0 pruned, 1 failed" in capsys.readouterr().out
    assert main(line) == 1
    assert len(seen) == 24  # nothing is asked twice
