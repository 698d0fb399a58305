"""SIGTERM and SIGINT in every phase of a run: saved, told by the exit code, and gone on with as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from difflab.train import checkpoint
from tests.faults.conftest import Start
from tests.faults.runs import TINY, assert_equal, has_rows

TERM, INT = int(signal.SIGTERM), int(signal.SIGINT)
PHASES = {
    "building": ("difflab.task.train:assemble", 1),
    "forecast": ("difflab.task.train:forecast", 1),
    "a step": ("difflab.train.trainer:Trainer.train_step", 3),
    "the last step": ("difflab.train.trainer:Trainer.train_step", 12),
    "a save": ("difflab.train.checkpoint:save", 2),
    "validating": ("difflab.task.train:validate", 2),
    "a batch of a validation": ("difflab.bound.estimator:_Pass._evaluate", 2),
    "a preview": ("difflab.task.train:draw", 1),
    "a row": ("difflab.train.metrics:MetricsFile.write", 4),
    "fitting": ("difflab.bound.optimal:fit", 1),
    "measuring": ("difflab.task.measure:evaluate_modes", 1),
    "the final samples": ("difflab.task.train:draw", 4),
    "the last figures": ("difflab.task.figures:draw_all", 1),
    "the result": ("difflab.task.train:write_json", 1),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in_any_phase_loses_nothing(start: Start, whole: Path, tmp_path: Path, phase: str) -> None:
    """One SIGTERM, one SIGINT, two SIGTERMs: three runs side by side."""
    where, call = PHASES[phase]
    late = phase in ("the last figures", "the result")  # nothing is left to stop, but for who asks twice
    codes = {(TERM,): 0 if late else 143, (INT,): 0 if late else 130, (TERM, TERM): 143}
    hook = {"before": "tests.faults.hooks:signal_at"}
    commands = {
        signals: [*TINY, f"hydra.run.dir={tmp_path / '-'.join(map(str, signals))}", "resume=auto"] for signals in codes
    }
    started = time.monotonic()
    children = {
        signals: start(*command, **hook, given={"where": where, "call": call, "signals": signals})
        for signals, command in commands.items()
    }
    for signals, child in children.items():
        assert child.wait() == codes[signals], child.text
        assert child.plain
    assert time.monotonic() - started < 30
    again = {signals: start(*command) for signals, command in commands.items()}
    for signals, child in again.items():
        assert child.wait() == 0, child.text
        assert_equal(tmp_path / "-".join(map(str, signals)), whole)


def test_a_row_with_a_number_that_is_not_finite_waits_for_its_validation_too(start: Start, tmp_path: Path) -> None:
    """Step 4, whose gradient was left out and whose norm is NaN."""
    command = [*TINY, "debug.nan_at_step=4", "trainer.skip_nonfinite=1", "resume=auto"]
    hook = {"where": "difflab.task.train:validate", "call": 1, "signals": [TERM]}
    stopped = start(*command, f"hydra.run.dir={tmp_path / 'a'}", before="tests.faults.hooks:signal_at", given=hook)
    plain = start(*command, f"hydra.run.dir={tmp_path / 'b'}")
    assert stopped.wait() == 143, stopped.text
    assert plain.wait() == 0, plain.text
    again = start(*command, f"hydra.run.dir={tmp_path / 'a'}")
    assert again.wait() == 0, again.text
    assert_equal(tmp_path / "a", tmp_path / "b")


def test_a_stop_loses_no_step(start: Start, tmp_path: Path) -> None:
    run = tmp_path / "run"
    where = {"where": "difflab.train.trainer:Trainer.train_step", "call": 5, "signals": [TERM]}
    child = start(*TINY, f"hydra.run.dir={run}", before="tests.faults.hooks:signal_at", given=where)
    assert child.wait() == 143
    assert next(path.name for path in checkpoint.newest_first(run)) == "step_00000005"  # between two due ones
    assert checkpoint.load(checkpoint.latest(run))["step"] == 5


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_signal_to_the_whole_group_is_survived_by_what_reads(
    start: Start, whole: Path, tmp_path: Path, number: int
) -> None:
    """As a scheduler or a terminal sends it: loader processes get it too."""
    run = tmp_path / "run"
    command = [*TINY, "trainer.workers=2", "debug.slow_step=0.1", f"hydra.run.dir={run}", "resume=auto"]
    child = start(*command)
    child.until(lambda: has_rows(run))
    child.kill_group(number)
    assert child.wait(30) == 128 + number, child.text
    assert child.plain and "DataLoader" not in child.text
    again = start(*command)
    assert again.wait() == 0, again.text
    assert_equal(run, whole)


def test_a_sweep_ends_after_its_job_is_saved_and_goes_on_past_failures(start: Start, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    command = ["-m", *TINY, "seed=0,1", "debug.slow_step=0.1", f"hydra.sweep.dir={sweep}"]
    child = start(*command)
    child.until(lambda: has_rows(sweep / "0"))
    child.kill(TERM)
    assert child.wait(30) == 143, child.text
    assert checkpoint.newest_first(sweep / "0")
    assert not (sweep / "1").exists()
    failing = start("-m", *TINY, "debug.nan_at_step=2,null", f"hydra.sweep.dir={tmp_path / 'failing'}")
    assert failing.wait() == 1
    told = [line for line in failing.text.splitlines() if line.startswith("job 0: debug.nan_at_step=2 failed: ")]
    assert len(told) == 1 and "step 2" in told[0]
    assert "step 2" in (tmp_path / "failing" / "0" / "difflab.log").read_text()
    assert (tmp_path / "failing" / "1" / "result.json").exists()
    assert failing.plain


def workers_of(directory: Path) -> list[int]:
    """The processes of submitit's jobs whose files lie in `directory`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "submitit.core._submit" in words and str(directory) in " ".join(words):
            found.append(int(process.name))
    return found


def test_a_job_that_submitit_puts_back_into_the_queue_goes_on(start: Start, whole: Path, tmp_path: Path) -> None:
    """SLURM's way: SIGUSR2 before the time runs out or another job takes the place, SIGTERM besides. With submitit's local
    executor, which starts a job again as SLURM would."""
    pytest.importorskip("submitit")
    sweep = tmp_path / "sweep"
    settings = [
        "hydra/launcher=submitit_local",
        f"hydra.sweep.dir={sweep}",
        "resume=auto",
        "debug.slow_step=0.3",
        "checkpoint.every=100",
    ]
    child = start("-m", *TINY, *settings)
    child.until(lambda: has_rows(sweep / "0"))
    (worker,) = workers_of(sweep)
    for number in (signal.SIGUSR2, signal.SIGTERM):
        os.kill(worker, number)
    assert child.wait() == 0, child.text
    log = "".join(path.read_text() for path in (sweep / ".submitit").rglob("*_log.*"))
    assert "Requeued job" in log and "resuming from" in log, log
    assert "Bypassing signal SIGTERM" not in log  # it fell into the run, not after it
    assert_equal(sweep / "0", whole)
