"""A real sweep of real processes: failures are told, finished jobs are left alone, what was interrupted goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from difflab.cli import main
from difflab.sweep import record
from difflab.sweep.__main__ import status
from difflab.train import checkpoint
from tests.faults.runs import TINY, assert_equal, has_rows

ASKED = """
question: Does a NaN hurt?
base: {base}
grid: {{debug.nan_at_step: [null, 2], objective: [vlb, simple], variance: learned_range}}
tables:
  - {{title: bits/dim, rows: [objective], columns: debug.nan_at_step}}
  - {{title: claims, claims: [{{says: NaN is worse, better: {{debug.nan_at_step: null}}, worse: {{debug.nan_at_step: 2}}}}]}}
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFLAB_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "nan.yaml"
    path.write_text(ASKED.format(base=json.dumps(TINY)))
    return path


def test_a_failing_job_is_told_and_a_finished_one_not_done_again(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = asked.parent / "runs" / "sweep" / "nan"
    command = [f"sweep={asked}", "hydra.launcher.jobs=2"]
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert "FAILED  nan_at_step2-vlb: " in err
    assert "job nan_at_step2-vlb: " in err.splitlines()[-1]
    assert "Traceback" not in err
    assert "not defined: debug.nan_at_step=null objective=simple variance=learned_range: objective=simple gives" in out
    assert "FAILED: nan_at_step2-vlb: " in out  # in its tables, too
    assert "The sweep is not at its end" not in out
    states = record.states(sweep)
    assert {name: state.state for name, state in states.items()} == {
        "nan_at_stepnull-vlb": "done",
        "nan_at_step2-vlb": "failed",
    }
    assert "step 2" in states["nan_at_step2-vlb"].message
    assert "2 jobs: 1 done, 1 failed" in status(sweep)
    record_ = json.loads((sweep / "nan_at_stepnull-vlb" / "result.json").read_text())
    assert record_["choices"]["objective"] == "vlb"
    before = (sweep / "nan_at_stepnull-vlb" / "result.json").stat()
    row = next(line for line in (sweep / "tables.md").read_text().splitlines() if line.startswith("| vlb"))
    assert f"{record_['bpd']:.4f}" in row and "failed" in row
    page = (sweep / "comparison.html").read_text()  # begins with the same answer
    assert page.index(f"{record_['bpd']:.4f} ±") < page.index("Ranking")
    assert page.index("answer-1") < page.index("Ranking")  # the section is the question's, not the ranking's own figure
    assert main([*command, "debug.nan_at_step=null"]) == 1  # the failed one is not asked for, and still told
    assert (sweep / "nan_at_stepnull-vlb" / "result.json").stat() == before
    assert [job.name for job in record.load(sweep).jobs] == ["nan_at_stepnull-vlb", "nan_at_step2-vlb"]


def test_a_question_that_was_changed_is_not_answered_by_what_was_trained_before(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [f"sweep={asked}", "debug.nan_at_step=null", "hydra/launcher=basic"]
    assert main(line) == 0
    run = asked.parent / "runs" / "sweep" / "nan" / "nan_at_stepnull-vlb"
    before = (run / "result.json").read_bytes()
    asked.write_text(asked.read_text().replace('"trainer.batch_size=8"', '"trainer.batch_size=4"'))
    for launcher in ("basic", "side_by_side"):
        assert main([*line[:2], f"hydra/launcher={launcher}"]) == 1
        assert f"trainer.batch_size was 8 when {run} was trained" in capsys.readouterr().err
    assert (run / "result.json").read_bytes() == before
    (run / "failed.json").unlink(missing_ok=True)
    asked.write_text(asked.read_text().replace('"trainer.batch_size=4"', '"trainer.batch_size=8"'))
    assert main([f"sweep={asked}", "job=nan_at_stepnull-vlb"]) == 0  # one job alone, and it is finished
    assert (run / "result.json").read_bytes() == before
    assert main([f"sweep={asked}", "hydra.launcher.jobs=0"]) == 1
    assert (
        capsys.readouterr().err.strip().endswith("hydra.launcher.jobs=0 must be a whole number, at least 1, or null.")
    )


def test_an_interrupted_sweep_goes_on_with_the_same_command(asked: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "difflab", f"sweep={asked}", "debug.nan_at_step=null", "debug.slow_step=0.2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not (found := [*tmp_path.glob("runs/sweep/*/nan_at_stepnull-vlb")]) or not has_rows(found[0]):
        assert time.monotonic() < deadline
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.05)
    run = found[0]
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=100)[1]
    assert first.returncode == 143, said
    assert "Traceback" not in said
    assert checkpoint.newest_first(run)
    assert not (run / "result.json").exists() and not (run / "failed.json").exists()
    assert record.state(run).state == "stopped"
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert main([*TINY, "objective=vlb", "variance=learned_range", f"hydra.run.dir={tmp_path / 'whole'}"]) == 0
    assert_equal(run, tmp_path / "whole")


def test_any_multirun_may_run_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["-m", *TINY, "seed=0,1", "hydra/launcher=side_by_side", f"hydra.sweep.dir={tmp_path / 'multi'}"]
    assert main(line) == 0
    results = [json.loads((tmp_path / "multi" / name / "result.json").read_text()) for name in ("0", "1")]
    assert [r["seed"] for r in results] == [0, 1]
    assert (tmp_path / "multi" / "comparison.md").exists()


def test_a_question_goes_through_submitit(asked: Path) -> None:
    """With its local executor; SLURM's takes the same jobs."""
    pytest.importorskip("submitit")
    assert main([f"sweep={asked}", "debug.nan_at_step=null", "hydra/launcher=submitit_local"]) == 0
    run = asked.parent / "runs" / "sweep" / "nan" / "nan_at_stepnull-vlb"
    assert record.state(run).state == "done"
    assert "± " in (run.parent / "tables.md").read_text()
