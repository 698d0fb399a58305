"""Where the examples of a training step come from: the device's own memory, or a loader that reads ahead of the steps.

Both give the same examples in the same order. Which ones is a function of (seed, step) alone, so that a resumed run reads
on exactly, and so that nothing is lost of what a loader has read ahead when a run is interrupted.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.base import Stored
from ..errors import ConfigError
from ..gaussian import sent
from ..ranks import on_this_machine

SHARE = 0.5  # of the device's free memory: a split that takes more is not kept there, so that the network has its room
MOST_WORKERS = 4  # that trainer.workers=null starts


@dataclass(frozen=True)
class Order:
    """Positions of each step's examples: a new permutation every epoch, read on from where the last step stopped.

    count: of all examples. rows: the part of every batch that is wanted here (one rank's).
    """

    count: int
    batch_size: int
    seed: int
    rows: slice = field(default_factory=lambda: slice(None))

    def __call__(self, step: int) -> Tensor:
        """int64 [b] of a step 1, 2, ..."""
        wanted = torch.arange((step - 1) * self.batch_size, step * self.batch_size)[self.rows]
        epoch, place = wanted // self.count, wanted % self.count
        parts = range(int(epoch[0]), int(epoch[-1]) + 1)
        return torch.cat([_permutation(self.count, self.seed, part)[place[epoch == part]] for part in parts])


@lru_cache(maxsize=2)  # all steps of an epoch read it, and a step may lie in two; a million examples take 20 ms to draw
def _permutation(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


class Source(Protocol):
    """Gives each step its examples."""

    def batch(self, step: int) -> Tensor:
        """The examples of a step as they are stored, [b, ...], on the device. Raises ConfigError if they cannot be read."""
        ...

    def close(self) -> None:
        """Stop what reads ahead; the next `batch` starts it again."""
        ...


def source_of(x: Stored, order: Order, workers: int | None, device: torch.device) -> Source:
    """Resident if `x` is a tensor and the device has room for it, else Streamed by `workers` processes (None: none where
    the examples lie in memory, else one for each core up to MOST_WORKERS)."""
    if isinstance(x, Tensor):
        if has_room(x, device):
            return Resident(x, order, device)
        return Streamed(x, order, workers or 0, device)
    return Streamed(x, order, min(_cores(), MOST_WORKERS) if workers is None else workers, device)


def has_room(x: Tensor, device: torch.device) -> bool:
    """Whether a GPU has room for `x`; other devices share the memory it is in."""
    return device.type != "cuda" or x.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]


class Resident:
    """The whole split on the device, as it is stored: pictures as uint8, a quarter of what the network sees."""

    def __init__(self, x: Tensor, order: Order, device: torch.device) -> None:
        self.x, self.order, self.device = x.to(device), order, device

    def batch(self, step: int) -> Tensor:
        return self.x[sent(self.order(step), self.device)]

    def close(self) -> None:
        """Nothing reads ahead."""


class Streamed:
    """Batches that are read while earlier steps compute, by `workers` processes (0: by this one, when they are needed).

    What is read is pinned and travels to a GPU without waiting. The processes end with `close`, with this object or
    with this process, whichever is first.
    """

    def __init__(self, x: Stored, order: Order, workers: int, device: torch.device) -> None:
        self.x, self.order, self.workers, self.device = x, order, workers, device
        self._next = 0  # the step that `_batches` gives next
        self._batches: Iterator[Tensor | ConfigError] | None = None

    def batch(self, step: int) -> Tensor:
        if self._batches is None or step != self._next:
            self._batches, self._next = self._from(step), step
        try:
            x, death = next(self._batches), None
        except RuntimeError as error:  # all that torch says is in its message
            if not str(error).startswith("DataLoader worker"):
                raise
            x, death = None, str(error)
        if x is None:  # after the handler: the error would keep the loader alive, and with it the other processes
            self.close()
            raise ConfigError(
                f"trainer.workers={self.workers}: a process that read examples has died ({death}); if memory was short, lower "
                "trainer.workers, and resume the run."
            )
        if isinstance(x, ConfigError):
            self.close()
            raise x
        self._next += 1
        return x.to(self.device, non_blocking=True)

    def close(self) -> None:
        self._batches = None

    def _from(self, step: int) -> Iterator[Tensor | ConfigError]:
        """The batches of `step` and all later ones."""
        with _starting_processes():
            return iter(
                DataLoader(
                    _Reader(self.x),
                    batch_size=None,  # the sampler gives whole batches
                    sampler=_Steps(self.order, step),  # type: ignore[arg-type]
                    num_workers=self.workers,
                    pin_memory=self.device.type == "cuda",
                    worker_init_fn=_outlive_signals,
                    generator=torch.Generator(),  # not the global one, which is seeded for the step's dropout
                )
            )


class _Reader(Dataset):
    """What the processes of a loader do: positions of a batch -> its examples, or the error that a user should read."""

    def __init__(self, x: Stored) -> None:
        self.x = x

    def __getitem__(self, positions: list[int]) -> Tensor | ConfigError:
        try:
            return self.x[torch.tensor(positions)]
        except ConfigError as error:  # raised, it would come with the process' traceback as its message, and too early
            return error


@dataclass(frozen=True)
class _Steps:
    """Positions of a step, of the next one, ... without end, as lists, which take little to send to a process."""

    order: Order
    first: int

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first
        while True:
            yield self.order(step).tolist()
            step += 1


@contextmanager
def _starting_processes() -> Iterator[None]:
    """Around the start of a loader's processes.

    Signals to stop are held back, so that every thread of theirs begins with them blocked: torch makes some before it calls
    `_outlive_signals`. And torch's own handler goes: it raises at once, wherever the program is, when such a process dies;
    we ask for the next batch first (and wait 5 s), so that a checkpoint is written to its end.
    """
    blocks, main = hasattr(signal, "pthread_sigmask"), threading.current_thread() is threading.main_thread()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT}) if blocks else ()
    before = signal.getsignal(signal.SIGCHLD) if main and hasattr(signal, "SIGCHLD") else None
    try:
        yield
    finally:
        try:
            if before is not None:
                signal.signal(signal.SIGCHLD, before)
        finally:
            if blocks:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _outlive_signals(worker: int) -> None:
    """In a loader's process: a Ctrl-C or a scheduler's SIGTERM, sent to all processes of a run, is for the run to act upon,
    which finishes its step; SIGTERM counts if it comes from the run itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # Linux and its like tell the sender
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        return
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _cores() -> int:
    """Cores this process may use: its part, where torchrun started several on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // on_this_machine())
