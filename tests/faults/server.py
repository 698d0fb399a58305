"""Real processes for the price of a fork: a server that has imported everything and computed nothing.

    python -m tests.faults.server        one JSON line in, one out
    {"run": [argv], "log": PATH, "environment": {...}, "before": "module:function", "given": ...}  ->  {"pid": 123}

Each child is its own process group with its own log. `before(given)` runs in it first, to prepare what is to go wrong.
A child whose server has died dies too.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """A process that runs `difflab` with the given arguments."""

    server: Server
    pid: int
    log: Path
    _code: int | None = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def kill_group(self, number: int) -> None:
        os.killpg(self.pid, number)

    @property
    def code(self) -> int | None:
        """The exit code, -N after a signal N, None while it lives."""
        if self._code is None:
            self._code = self.server.ask({"poll": self.pid})["code"]
        return self._code

    def wait(self, seconds: float = 120) -> int:
        deadline = time.monotonic() + seconds
        while self.code is None:
            assert time.monotonic() < deadline, f"it does not end; its log:\n{self.text}"
            time.sleep(0.02)
        assert self._code is not None
        return self._code

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait while it lives until that holds."""
        while not condition():
            assert self.code is None, self.text
            time.sleep(0.02)

    @property
    def plain(self) -> bool:
        """Whether it has told whatever was wrong in its own words: other exceptions end in how to see their traceback."""
        return "Traceback" not in self.text and "HYDRA_FULL_ERROR" not in self.text

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass
class Server:
    """Starts children; close it at the end."""

    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the server has died"
        return json.loads(answer)

    def run(
        self, overrides: Sequence[str], log: Path, before: str | None = None, given: Any = None, **environment: str
    ) -> Child:
        question = {
            "run": list(overrides),
            "log": str(log),
            "environment": environment,
            "before": before,
            "given": given,
        }
        return Child(self, self.ask(question)["pid"], log)

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(30)


def _child(question: dict[str, Any]) -> None:
    """In the new process; never returns."""
    code = 70
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgid(0, 0)
        log = os.open(question["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        for name, value in question["environment"].items():
            os.environ[name] = value
        if question["before"]:
            module, _, name = question["before"].partition(":")
            getattr(import_module(module), name)(question["given"])
        from difflab.cli import main

        code = main(question["run"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _poll(pid: int) -> int | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def main() -> None:
    # everything that takes long, and nothing that starts a thread: threads do not survive a fork
    import matplotlib.pyplot  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch._dynamo  # noqa: F401 (an optimizer imports it)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    import difflab.task.compare
    import difflab.task.evaluate
    import difflab.task.train
    from difflab.cli import main as difflab

    FigureCanvasAgg.draw = FigureCanvasAgg.get_renderer  # type: ignore[method-assign, assignment]  # pictures stay blank
    with redirect_stdout(StringIO()):
        difflab(["--cfg", "job"])

    for line in sys.stdin:
        question = json.loads(line)
        if "poll" in question:
            answer: dict[str, Any] = {"code": _poll(question["poll"])}
        else:
            sys.stdout.flush()
            pid = os.fork()
            if not pid:
                _child(question)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
