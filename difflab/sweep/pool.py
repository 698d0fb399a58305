"""Jobs as processes, side by side: as many as there are cores or GPUs, each with its own share of them.

A job is one command line, `python -m difflab ...`, that anybody can run again; whatever ends it, a lack of memory too, ends
that job alone. What it says goes into a file of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # seconds in which a job that is told to stop should have saved
PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class Job:
    """One run of a sweep: what it is called (also its directory), and its command line after `python -m difflab`."""

    name: str
    command: Sequence[str]


@dataclass
class Running:
    """A job at work."""

    job: Job
    process: subprocess.Popen[bytes]
    slot: int
    started: float = field(default_factory=time.monotonic)
    stopped: str | None = None  # why it was told to stop, if it was

    def stop(self, why: str) -> None:
        if self.stopped is None:
            self.stopped = why
            with suppress(ProcessLookupError):
                self.process.terminate()


@dataclass(frozen=True)
class Ended:
    """A job that has ended. code: its exit status, -N after signal N; stopped: why it was told to stop."""

    job: Job
    code: int
    seconds: float
    stopped: str | None


def cores() -> int:
    """CPU cores that this process may use, by its affinity and its control group's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def gpus() -> list[str]:
    """CUDA devices by the names that CUDA_VISIBLE_DEVICES takes; told without torch, which takes seconds."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() and name != "-1"]
    return [
        path.name.removeprefix("nvidia")
        for path in sorted(Path("/dev").glob("nvidia[0-9]*"), key=lambda p: (len(p.name), p.name))
    ]


class Pool:
    """`side_by_side` jobs at a time (None: one for each GPU or, without, each core), each with `threads` (None: its share).

    environment: variables that jobs get besides ours (None: that they do not get).
    """

    def __init__(
        self,
        side_by_side: int | None,
        threads: int | None,
        logs: Path,
        environment: Mapping[str, str | None],
        program: Sequence[str] = (sys.executable, "-m", "difflab"),
    ) -> None:
        self.gpus = gpus()
        own = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
        threads = threads or (int(own) if own.isdecimal() else 0)
        self.slots = side_by_side or len(self.gpus) or max(1, cores() // (threads or 1))
        self.threads = threads or max(1, cores() // self.slots)
        self.logs, self._environment = logs, dict(environment)
        self.running: list[Running] = []
        self._program = list(program)

    def run(self, jobs: Iterable[Job], look: Callable[[list[Running]], None], every: float = 0.5) -> Iterator[Ended]:
        """Each job as it ends. The next is asked for only when a slot is free; `look` at those that run, again and again.

        Whatever ends this, an exception or a signal, ends the jobs that run: they are told to stop, and given time to save.
        """
        waiting = iter(jobs)
        more = True
        try:
            while more or self.running:
                while more and len(self.running) < self.slots:
                    job = next(waiting, None)
                    more = job is not None
                    if job is not None:
                        self.running.append(self._start(job))
                yield from self._ended()
                look(self.running)
                if self.running:
                    with suppress(subprocess.TimeoutExpired):
                        self.running[0].process.wait(every)
        finally:
            self._stop_all()

    def log(self, job: Job) -> Path:
        """The file with what a job says."""
        return self.logs / f"{job.name}.log"

    def _start(self, job: Job) -> Running:
        taken = {running.slot for running in self.running}
        slot = next(i for i in range(self.slots) if i not in taken)
        paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {"OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": os.pathsep.join(paths)}
        environment = {k: v for k, v in (os.environ | self._environment | own).items() if v is not None}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        self.logs.mkdir(parents=True, exist_ok=True)
        with open(self.log(job), "ab") as log:
            process = subprocess.Popen(
                [*self._program, *job.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_with_its_parent,
            )
        return Running(job, process, slot)

    def _ended(self) -> Iterator[Ended]:
        for running in list(self.running):
            code = running.process.poll()
            if code is not None:
                self.running.remove(running)
                yield Ended(running.job, code, time.monotonic() - running.started, running.stopped)

    def _stop_all(self) -> None:
        for running in self.running:
            running.stop("the sweep ends")
        deadline = time.monotonic() + PATIENCE
        for running in self.running:
            try:
                running.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
        self.running = []


def _with_its_parent() -> None:
    """In the child: a sweep that is killed takes its jobs along (Linux), or they would keep their directories locked."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
