"""kill -9 at any moment, as often as it likes: the run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from difflab.train import checkpoint
from tests.faults.conftest import Start
from tests.faults.runs import TINY, assert_equal, has_rows

LONG = int(os.environ.get("DIFFLAB_LONG_FAULTS", "0"))  # so many random runs more


def go_on(start: Start, run: Path, times: list[float]) -> int:
    """Kill the run after so many seconds each, then let it end; how often it was killed before it had ended."""
    killed = 0
    command = [*TINY, "debug.slow_step=0.3", f"hydra.run.dir={run}", "resume=auto"]
    for seconds in times:
        child = start(*command)
        time.sleep(seconds)
        if child.code is not None:
            assert child.code == 0, child.text
            break
        child.kill()
        child.wait()
        killed += 1
    last = start(*command)
    assert last.wait() == 0, last.text
    return killed


@pytest.mark.parametrize("seed", range(1 + LONG))
def test_a_run_that_is_killed_again_and_again_is_the_run_that_was_not(
    start: Start, whole: Path, tmp_path: Path, seed: int
) -> None:
    choose = random.Random(seed)
    killed = go_on(start, tmp_path / "run", [choose.uniform(0.5, 2) for _ in range(10)])
    assert killed >= 2
    assert_equal(tmp_path / "run", whole)


def test_the_readers_of_a_killed_run_keep_nobody_out(start: Start, tmp_path: Path, whole: Path) -> None:
    """Loader processes end seconds after it; the lock is not theirs."""
    command = [*TINY, "debug.slow_step=0.1", "trainer.workers=2", f"hydra.run.dir={tmp_path / 'run'}", "resume=auto"]
    child = start(*command)
    child.until(lambda: has_rows(tmp_path / "run"))
    child.kill()
    child.wait()
    again = start(*command)
    assert again.wait() == 0, again.text
    assert_equal(tmp_path / "run", whole)


def test_a_save_may_be_killed_at_each_of_its_file_operations(start: Start, whole: Path, tmp_path: Path) -> None:
    """Whatever is there afterwards is whole: the run goes on from it, and `best` never goes away."""
    number, survived = 0, False
    had_best = False
    run = tmp_path / "run"
    while not survived:
        child = start(
            *TINY,
            f"hydra.run.dir={run}",
            "resume=auto",
            before="tests.faults.hooks:die_at_file_operation",
            given=number,
        )
        code = child.wait()
        assert code in (0, -9), child.text
        survived = code == 0
        found = checkpoint.newest_first(run)
        for path in found:
            checkpoint.load(path)
        checkpoint.tidy(run)
        if had_best:
            checkpoint.load(run / "checkpoints" / "best")
        had_best = had_best or (run / "checkpoints" / "best").exists()
        number += 1
    assert number > 20
    assert_equal(run, whole)


def test_wandb_goes_on_with_the_same_run_and_steps_that_rise(start: Start, tmp_path: Path) -> None:
    """A killed run leaves one offline part, the run that goes on another: uploaded one after the other they are one run."""
    run = tmp_path / "run"
    command = [
        *TINY,
        "tracker=wandb",
        "checkpoint.every=6",
        "debug.slow_step=0.5",
        f"hydra.run.dir={run}",
        "resume=auto",
    ]
    child = start(*command)
    child.until((run / "checkpoints" / "step_00000006" / "manifest.json").exists)
    child.until(
        lambda: any(run.glob("wandb/offline-run-*/*.wandb"))
    )  # a process of its own writes it, when it gets to it
    time.sleep(1.7)  # W&B holds a row back for a second, metrics.jsonl for none
    child.kill()
    child.wait()
    again = start(*command)
    assert again.wait() == 0, again.text
    parts = sorted((run / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_mtime)
    assert len(parts) == 2
    assert len({part.name.rpartition("-")[2] for part in parts}) == 1  # the id
    before, after = (steps(part) for part in parts)
    assert before == sorted(set(before))
    assert after == [7, 8, 9, 10, 11, 12]
    assert set(before) | set(after) == set(range(1, 13))


def steps(part: Path) -> list[int]:
    """What W&B holds of a part, by its own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(next(part.glob("*.wandb")))]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [row["history"]["step"]["num"] for row in map(json.loads, shown.splitlines()) if row["type"] == "history"]
