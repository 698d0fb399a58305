"""Processes side by side: never more than there are slots, whatever ends one ends that one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from difflab.sweep import pool
from difflab.sweep.pool import Job, Pool

PYTHON = (sys.executable, "-c")


def made(tmp_path: Path, slots: int, **environment: str | None) -> Pool:
    return Pool(slots, None, tmp_path / "logs", environment, PYTHON)


def test_each_job_is_told_its_share_and_says_what_it_says_into_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(pool, "cores", lambda: 8)
    jobs = made(tmp_path, 2, WHOSE="mine", HYDRA_FULL_ERROR=None)
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['WHOSE'], os.environ.get('HYDRA_FULL_ERROR'))"
    (ended,) = jobs.run([Job("a", [code])], lambda running: None)
    assert (ended.code, ended.stopped) == (0, None)
    assert jobs.log(ended.job).read_text() == "4 mine None\n"


def test_threads_that_the_environment_asks_for_are_no_reason_to_share_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "cores", lambda: 8)
    monkeypatch.setattr(pool, "gpus", list)
    for said, slots, threads in (("4", 2, 4), ("4,2", 2, 4), ("", 8, 1), ("many", 8, 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        jobs = Pool(None, None, tmp_path, {})
        assert (jobs.slots, jobs.threads) == (slots, threads)


def test_never_more_at_a_time_than_slots_and_the_next_is_asked_for_late(tmp_path: Path) -> None:
    asked: list[str] = []
    seen = 0

    def jobs():
        for i in range(5):
            asked.append(str(i))
            yield Job(str(i), ["import time; time.sleep(0.3)"])

    def look(running: list[pool.Running]) -> None:
        nonlocal seen
        seen = max(seen, len(running))

    ended = []
    for one in made(tmp_path, 2).run(jobs(), look, every=0.02):
        ended.append(one.job.name)
        assert len(asked) <= len(ended) + 2
    assert sorted(ended) == [str(i) for i in range(5)]
    assert seen == 2


def test_a_killed_job_ends_alone(tmp_path: Path) -> None:
    codes = {
        ended.job.name: ended.code
        for ended in made(tmp_path, 1).run(
            [Job("a", ["import os; os.kill(os.getpid(), 9)"]), Job("b", ["raise SystemExit(3)"]), Job("c", ["0"])],
            lambda running: None,
        )
    }
    assert codes == {"a": -9, "b": 3, "c": 0}


WAITS = "import signal, sys, time\nsignal.signal(15, lambda *a: sys.exit(143))\nprint('up', flush=True)\ntime.sleep(60)"


def test_what_is_not_worth_going_on_with_is_stopped(tmp_path: Path) -> None:
    jobs = made(tmp_path, 1)

    def look(running: list[pool.Running]) -> None:
        for job in running:
            if jobs.log(job.job).read_text():
                job.stop("enough")

    (ended,) = jobs.run([Job("a", [WAITS])], look, every=0.02)
    assert (ended.code, ended.stopped) == (143, "enough")


def test_an_exception_ends_what_runs(tmp_path: Path) -> None:
    jobs = made(tmp_path, 1)

    def look(running: list[pool.Running]) -> None:
        if running and jobs.log(running[0].job).read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(jobs.run([Job("a", [WAITS])], look, every=0.02))
    assert jobs.running == []


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_a_killed_sweep_takes_its_jobs_along(tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path; from difflab.sweep.pool import *; p = Pool(1, None, Path({str(tmp_path)!r}), {{}}, {PYTHON!r})\n"
        f"list(p.run([Job('a', [{'import os;print(os.getpid(), flush=True);' + WAITS.replace(chr(10), ';')!r}])], lambda r: None))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    log = tmp_path / "a.log"
    until = time.monotonic() + 30
    while not (log.exists() and "up" in log.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    child = int(log.read_text().split()[0])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while time.monotonic() < until:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":  # nobody has asked for its code yet
            return
        time.sleep(0.05)
    pytest.fail("the job lives on")


def test_cores_and_devices_as_this_process_may_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= pool.cores() <= (os.cpu_count() or 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert pool.gpus() == ["3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert pool.gpus() == []
