"""The contenders' processes, and the rounds in which they take turns: while one computes, the others wait on a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from typing import Any

from .lineup import INSTALL, Entry
from .work import Work

QUIET = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
Say = Callable[[str], None]
Row = dict[str, Any]


class Failed(RuntimeError):
    """A contender that did not do what it was told; the message says why."""


class Worker:
    """An entry's process."""

    def __init__(self, entry: Entry) -> None:
        spec = {"contender": entry.contender, "options": dict(entry.options), "keep_blocks": entry.keep_blocks}
        self.entry, self.idle_share = entry, 0.0
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        self._answered = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "difflab.bench.worker", json.dumps(spec)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=os.environ | QUIET,
        )  # fmt: skip

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer; Failed if there is none, or an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        waited = time.perf_counter() - self._answered
        try:
            self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        self._answered = time.perf_counter()
        if not line:
            self._log.seek(0)
            last = self._log.read().strip().splitlines()[-1:]
            raise Failed(f"its process ended ({''.join(last) or 'and said nothing'})")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        if waited > 1:  # what it burnt while others computed
            self.idle_share = max(self.idle_share, answer.pop("idle_seconds") / waited)
        return answer

    def close(self) -> None:
        if self._process.stdin:
            with suppress(BrokenPipeError):  # it has ended already, and its row says so
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()


class Pool:
    """Several workers. An entry whose package is not there has no process, and its row says how to get it."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = list(entries)
        self.workers = {entry.key: Worker(entry) for entry in self.entries if not entry.missing}

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()

    def measure(
        self, work: Work, rounds: int, seconds: float, say: Say, only: Callable[[Entry], bool] = lambda entry: True
    ) -> dict[str, Row]:
        """{entry's key: gflop, parameters, precision, samples [{units, seconds}] one a round, or error}, of the entries
        that `only` lets through."""
        say(f"{work.title}: getting ready")
        rows = {entry.key: self._ready(entry, work, seconds) for entry in self.entries if only(entry)}
        for number in range(rounds):
            say(f"{work.title}: round {number + 1} of {rounds}")
            order = [key for key, row in rows.items() if "samples" in row]
            first = number % max(len(order), 1)  # nobody always begins
            for key in order[first:] + order[:first]:
                try:
                    answer = self.workers[key].ask("block")
                except Failed as failed:
                    rows[key] = {"error": str(failed)}
                else:
                    rows[key]["samples"].append({name: answer[name] for name in ("units", "seconds")})
        return rows

    def _ready(self, entry: Entry, work: Work, seconds: float) -> Row:
        if entry.missing:
            return {"error": f"not installed: {INSTALL}"}
        try:
            about = self.workers[entry.key].ask("prepare", **asdict(work), seconds=seconds)
        except Failed as failed:
            return {"error": str(failed)}
        return {name: about[name] for name in ("gflop", "parameters", "precision")} | {"samples": []}

    @property
    def idle_shares(self) -> Mapping[str, float]:
        """{entry's key: largest share of a core that its process used while it waited}."""
        return {key: worker.idle_share for key, worker in self.workers.items()}


def alone(entry: Entry, command: str, **arguments: Any) -> dict[str, Any]:
    """One command in a process of its own."""
    with closing(Worker(entry)) as worker:
        return worker.ask(command, **arguments)
