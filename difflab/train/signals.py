"""SIGTERM and SIGINT as a flag that the loop reads between steps."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self

from ..ranks import Ranks, current


class Stop:
    """A context in which SIGTERM / SIGINT only set a flag. `agree` takes notice of it, on all ranks at once, and then `check`
    raises SystemExit(143 / 130): a signal between the two waits for the next time, or one rank would end alone.

    The handlers that stood before are put back at exit, so that one job of a multirun leaves nothing to the next. Outside the main
    thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._agreed = 0  # the signal that all ranks know of
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._handle)
            except ValueError:
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # asked twice: whoever asks does not want to wait; but torchrun hands on what a scheduler has sent to all
        if self.signal is not None and current().world == 1:
            raise SystemExit(128 + number)
        self.signal = number

    def agree(self, ranks: Ranks) -> None:
        """A signal that one rank has received is for all of them: they stop after the same step."""
        self._agreed = self._agreed or int(ranks.largest(self.signal or 0))

    @property
    def requested(self) -> bool:
        return bool(self._agreed)

    def check(self) -> None:
        if self._agreed:
            raise SystemExit(128 + self._agreed)
