"""SIGTERM and SIGINT as a flag that the loop reads between steps; a scheduler's own signals too."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from ..ranks import Ranks, current

SCHEDULERS = (signal.SIGUSR1, signal.SIGUSR2)


class Stop:
    """A context in which SIGTERM / SIGINT only set a flag. `agree` takes notice of it, on all ranks at once, and then `check`
    raises SystemExit(143 / 130): a signal between the two waits for the next time, or one rank would end alone.

    SIGUSR1 and SIGUSR2 are taken over where somebody has a handler for them, as submitit has to put a job back into the queue
    before its time runs out or another takes its place. `check` then leaves the rest to that handler: it is called after the
    save. Schedulers send SIGTERM besides, which must not come between.

    The handlers that stood before are put back at exit, so that one job of a multirun leaves nothing to the next. Outside the main
    thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._agreed = 0  # the signal that all ranks know of
        self._before: dict[int, Any] = {}
        self._handed_on: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT, *SCHEDULERS):
            before = signal.getsignal(number)
            if number in SCHEDULERS:
                if not callable(before):
                    continue  # its default ends the process: nobody has said that it means to save
                self._handed_on[number] = before
            try:
                self._before[number] = signal.signal(number, self._handle)
            except ValueError:
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in self._handed_on:
            self.signal = number
        elif self.signal in self._handed_on:
            return
        # asked twice: whoever asks does not want to wait; but torchrun hands on what a scheduler has sent to all
        elif self.signal is not None and current().world == 1:
            raise SystemExit(128 + number)
        else:
            self.signal = number

    def agree(self, ranks: Ranks) -> None:
        """A signal that one rank has received is for all of them: they stop after the same step."""
        self._agreed = self._agreed or int(ranks.largest(self.signal or 0))

    @property
    def requested(self) -> bool:
        return bool(self._agreed)

    def check(self) -> None:
        if not self._agreed:
            return
        if handler := self._handed_on.get(self._agreed):
            handler(self._agreed, None)
        raise SystemExit(128 + self._agreed)
