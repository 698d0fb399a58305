"""What goes wrong in a child of the server: functions that its `before` names."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import Any

FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def die_at_file_operation(number: int) -> None:
    """kill -9 right before the n-th file operation under checkpoints/ (0-based), flushes included."""
    seen = [0]

    def count() -> None:
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen[0] += 1

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and "checkpoints" in str(given[0]):
            count()

    flush = os.fsync

    def fsync(handle: Any) -> None:
        count()
        flush(handle)

    os.fsync = fsync
    sys.addaudithook(hook)


def small_files(limit: int) -> None:
    """No file may grow beyond so many bytes, as on a full disk (the error is another one)."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def close_stdout(numbers: list[int]) -> None:
    for number in numbers:
        os.close(number)


def nobody_reads(numbers: list[int]) -> None:
    """A pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    for number in numbers:
        os.dup2(write, number)


def without(names: list[str]) -> None:
    for name in names:
        os.environ.pop(name, None)


def silent_server(_: Any) -> None:
    """WANDB_BASE_URL: a server that takes connections and never answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    held = []

    def accept() -> None:
        while True:
            held.append(listening.accept())

    threading.Thread(target=accept, daemon=True).start()
    os.environ["WANDB_BASE_URL"] = f"http://127.0.0.1:{listening.getsockname()[1]}"


def little_memory(limit: int) -> None:
    """Address space for so many bytes more than now."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    size = pages * resource.getpagesize() + limit
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def signal_at(given: dict[str, Any]) -> None:
    """This process sends itself a signal when a function ("module:name") is called for the n-th time (1-based), or, with
    `batches`, when what it is given as on_batch or on_step is."""
    import importlib

    module_name, _, name = given["where"].partition(":")
    owner: Any = importlib.import_module(module_name)
    *inside, name = name.split(".")
    for part in inside:
        owner = getattr(owner, part)
    real, calls = getattr(owner, name), [0]

    def called(*positional: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == given["call"]:
            for number in given["signals"]:
                os.kill(os.getpid(), number)
        return real(*positional, **named)

    setattr(owner, name, called)


def ascii_only(_: Any) -> None:
    """A locale that has no ±."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii", errors="strict")  # type: ignore[union-attr]
