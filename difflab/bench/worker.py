"""One contender in a process of its own, which computes when it is told to and otherwise waits on a pipe.

A request is a line of JSON on the standard input: {"command": a key of COMMANDS, ...its arguments}; the answer is one on
the standard output: what the command returns, or {"error": a sentence}. Everything else that is printed goes to the
standard error. The process ends with its input.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..allocator import keep_large_blocks
from .contender.base import Contender, Piece
from .machine import describe, peaks, synchronize
from .work import Shape, Work

LARGE = 1 << 30  # bytes


class Host:
    """The contender that lives here."""

    def __init__(self, contender: str, options: dict[str, Any]) -> None:
        module, _, name = contender.partition(":")
        self.make: type[Contender] = getattr(import_module(f"{__package__}.contender.{module}"), name)
        self.options = options
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.made: tuple[Shape, Contender] | None = None
        self.piece: Piece | None = None
        self.pieces = 1  # of a block
        self.cold = False  # memory was given back: the next piece maps it anew

    def contender(self, shape: Shape) -> Contender:
        """The contender for pictures of a shape; the one before is let go."""
        if self.made is None or self.made[0] != shape:
            self.piece = self.made = None
            self.made = shape, self.make(shape, self.device, **self.options)
        return self.made[1]

    def prepare(self, kind: str, batch: int, shape: list[int], seconds: float) -> dict[str, Any]:
        """Get a work ready: a block will be as many pieces as take at least so many seconds."""
        self.piece = None
        channels, height, width = shape
        contender = self.contender((channels, height, width))
        self.piece = getattr(contender, Work(kind, batch).kind)(batch)
        self.pieces = 1
        self.block()  # the first one allocates, compiles and loads
        self.pieces = max(1, math.ceil(seconds / self.block()["seconds"]))
        return {
            "gflop": contender.flops() / 1e9,
            "parameters": contender.parameters(),
            "precision": contender.precision(kind),
        }

    def block(self) -> dict[str, Any]:
        """Do a block: how many units in how many seconds."""
        assert self.piece, "prepare comes first"
        if self.cold:
            self.piece()
        synchronize(self.device)
        started = time.perf_counter()
        units = sum(self.piece() for _ in range(self.pieces))
        synchronize(self.device)
        answer = {"units": units, "seconds": time.perf_counter() - started}
        self.cold = give_back()
        return answer

    def describe(self) -> dict[str, Any]:
        return describe(self.device)

    def peaks(self, seconds: float) -> dict[str, Any]:
        return peaks(self.device, seconds)

    def population(self, **settings: Any) -> dict[str, Any]:
        from .population import measure

        return measure(self.device, **settings)

    def cost(self, **settings: Any) -> dict[str, Any]:
        from .scaling import cost

        return cost(self.device, **settings)


def give_back() -> bool:
    """Whether this process held so much memory that the free part of it was given back: eight that wait with what a batch of
    128 took would hold 19 GB. Without /proc and glibc nothing is done."""
    try:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, ValueError):
        return False
    if resident < LARGE:
        return False
    gc.collect()
    trim(0)
    return True


COMMANDS = ("prepare", "block", "describe", "peaks", "population", "cost")


def main(arguments: list[str]) -> None:
    """`arguments`: one, JSON: {"contender": module:class, "options": of its constructor, "keep_blocks": bool}."""
    spec = json.loads(arguments[0])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    if spec["keep_blocks"]:
        keep_large_blocks()
    host: Host | None = None
    idle_since = time.process_time()
    for line in sys.stdin:
        idle = time.process_time() - idle_since
        request = json.loads(line)
        try:
            host = host or Host(spec["contender"], spec["options"])
            command: Callable[..., dict[str, Any]] = getattr(host, COMMANDS[COMMANDS.index(request.pop("command"))])
            answer = command(**request)
        except Exception as error:  # a peer's version may lack what is used of it: that is one row, not the end
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}
        print(json.dumps(answer | {"idle_seconds": idle}), file=answers, flush=True)
        idle_since = time.process_time()


if __name__ == "__main__":
    main(sys.argv[1:])
