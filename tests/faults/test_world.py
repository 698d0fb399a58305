"""A world that is not as it should be: streams, homes, names, servers, neighbours, memory."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.runs import TINY, assert_equal

KEY = "0123456789abcdef" * 3  # what no file and no output may hold


@pytest.mark.parametrize("hook", ["close_stdout", "nobody_reads"])
@pytest.mark.parametrize("numbers", [[1], [1, 2], [0, 1, 2]])
def test_nobody_has_to_listen(start: Start, whole: Path, tmp_path: Path, hook: str, numbers: list[int]) -> None:
    child = start(*TINY, f"hydra.run.dir={tmp_path / 'run'}", before=f"tests.faults.hooks:{hook}", given=numbers)
    assert child.wait() == 0, child.text
    assert_equal(tmp_path / "run", whole)


def test_a_home_is_not_needed(start: Start, whole: Path, tmp_path: Path) -> None:
    names = ["HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "TERM", "LANG"]
    child = start(
        *TINY, "tracker=wandb", f"hydra.run.dir={tmp_path / 'run'}", before="tests.faults.hooks:without", given=names
    )
    assert child.wait() == 0, child.text


NAMES = [
    "with space",
    "ünïcode – 日本",
    "a=b,c",
    "[x]",
    "-dash",
    'it\'s "quoted"',
    "per%cent",
    "new\\back",
    "#hash",
    "~tilde",
    "a;b&c|d",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_may_be_called_anything(start: Start, whole: Path, tmp_path: Path, name: str) -> None:
    from difflab.config.compose import quoted

    run = tmp_path / name / "run"
    command = [*TINY, f"hydra.run.dir={quoted(str(run))}", "resume=auto"]
    child = start(*command, "trainer.steps=6")
    assert child.wait() == 0, child.text
    again = start(f"resume={quoted(str(run))}", "trainer.steps=12")
    assert again.wait() == 0, again.text
    evaluated = start("task=evaluate", f"run={quoted(str(run))}", "bound.examples=4")
    assert evaluated.wait() == 0, evaluated.text


def test_two_runs_never_share_a_directory(start: Start, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [*TINY, "debug.slow_step=0.2", f"hydra.run.dir={run}", "resume=auto"]
    first = start(*command)
    first.until(lambda: (run / ".lock").exists() and bool((run / ".lock").read_text()))
    record = (run / ".hydra").exists()
    second = start(*command)
    assert second.wait() == 1
    assert second.text.count("\n") == 1
    assert f"hydra.run.dir={run} is in use by process {first.pid} on " in second.text
    assert (run / ".hydra").exists() >= record
    assert first.wait() == 0, first.text
    assert not (run / ".lock").exists()
    assert_equal(run, whole)


def test_many_that_start_at_once_leave_one(start: Start, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    children = [start(*TINY, "debug.slow_step=0.1", f"hydra.run.dir={run}") for _ in range(5)]
    codes = sorted(child.wait() for child in children)
    assert codes == [0, 1, 1, 1, 1], [child.text for child in children]
    assert_equal(run, whole)


@pytest.mark.parametrize("answer", ["refused", "silent"])
def test_a_server_that_does_not_answer_costs_half_a_minute_once(
    start: Start, whole: Path, tmp_path: Path, answer: str
) -> None:
    environment = {"WANDB_MODE": "online", "WANDB_API_KEY": KEY, "HOME": str(tmp_path)}
    if answer == "refused":
        environment["WANDB_BASE_URL"] = "http://127.0.0.1:9"
    hook = {"before": "tests.faults.hooks:silent_server"} if answer == "silent" else {}
    started = time.monotonic()
    child = start(*TINY, "tracker=wandb", f"hydra.run.dir={tmp_path / 'run'}", **hook, **environment)
    assert child.wait(150) == 0, child.text
    assert time.monotonic() - started < 75
    assert child.text.count("W&B could not go online") == 1
    assert child.plain
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file
    assert "offline-run-" in " ".join(os.listdir(tmp_path / "run" / "wandb"))


def test_memory_that_runs_out_is_told_with_its_keys(start: Start, tmp_path: Path) -> None:
    big = ["trainer.batch_size=200000", "trainer.steps=1"]
    child = start(
        *TINY, *big, f"hydra.run.dir={tmp_path / 'run'}", before="tests.faults.hooks:little_memory", given=1 << 30
    )
    assert child.wait() == 1, child.text
    last = child.text.splitlines()[-1]
    assert last.startswith("memory ran out") and "trainer.accumulate" in last
    assert child.plain


def test_a_locale_without_the_signs_of_the_table_ends_no_run(start: Start, whole: Path, tmp_path: Path) -> None:
    child = start(*TINY, f"hydra.run.dir={tmp_path / 'run'}", before="tests.faults.hooks:ascii_only")
    assert child.wait() == 0, child.text
    assert r"\xb1" in child.text
    assert_equal(tmp_path / "run", whole)


def test_a_mode_that_wandb_does_not_know_is_told_once(start: Start, tmp_path: Path) -> None:
    child = start(*TINY, "tracker=wandb", f"hydra.run.dir={tmp_path / 'run'}", WANDB_MODE="foo", HOME=str(tmp_path))
    assert child.wait() == 0, child.text
    assert child.text.count("WANDB_MODE=foo") == 1
    assert "offline-run-" in " ".join(os.listdir(tmp_path / "run" / "wandb"))


@pytest.mark.parametrize("other", ["parameterization=eps", "seed=7", "data.limit=20", "model.dropout=0.3"])
def test_a_sweep_does_not_go_on_with_another_jobs_weights(
    start: Start, whole: Path, tmp_path: Path, other: str
) -> None:
    """A grid typed in another order meets the directories of the first one."""
    before = Path(shutil.copytree(whole, tmp_path / "sweep" / "0"))
    result = (before / "result.json").read_bytes()
    line = [*(x for x in TINY if x.partition("=")[0] != other.partition("=")[0]), other, "trainer.steps=14"]
    child = start("-m", *line, f"hydra.sweep.dir={before.parent}", "resume=auto")
    assert child.wait() == 1, child.text
    assert f"job 0 failed: {other.partition('=')[0]}" in child.text and "step_00000012" in child.text
    assert (before / "result.json").read_bytes() == result
