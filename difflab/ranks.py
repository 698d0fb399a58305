"""The processes of one run (torchrun), and what they tell each other.

Every rank goes through the same program with the same state: it draws the plan of the whole batch and computes its own
part, and what the parts gave is gathered in the order of the batch. Rank 0 alone has the run's directory, its tracker
and a voice. A process alone is the same, with nobody to tell.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from .errors import ConfigError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """`rank` in 0..world - 1."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def part(self, count: int, rank: int | None = None) -> slice:
        """A rank's share (default: this one's) of `count` things in order: contiguous, sizes differ by one at most."""
        rank = self.rank if rank is None else rank
        return slice(count * rank // self.world, count * (rank + 1) // self.world)

    def share(self, value: Value) -> Value:
        """Rank 0's value, on every rank."""
        if self.world == 1:
            return value
        box = [value if self.first else None]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    def largest(self, value: float) -> float:
        """The largest of all ranks' values."""
        if self.world == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64)  # on the CPU: a GPU is not waited for
        distributed.all_reduce(box, distributed.ReduceOp.MAX)
        return float(box)

    def gather(self, part: Tensor, sizes: Sequence[int]) -> Tensor:
        """All ranks' rows, in order of rank, on every rank; `sizes`: how many rows each has."""
        if self.world == 1:
            return part
        widest = max(sizes)
        padded = part.new_zeros(widest, *part.shape[1:])
        padded[: len(part)] = part
        boxes = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(boxes, padded)
        return torch.cat([box[:size] for box, size in zip(boxes, sizes, strict=True)])

    def gather_parts(self, part: Tensor, count: int) -> Tensor:
        """The whole of `count` rows, of which this rank has its part()."""
        parts = [self.part(count, rank) for rank in range(self.world)]
        return self.gather(part, [p.stop - p.start for p in parts])

    def averaging(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model whose gradients are averaged over the ranks as they come. (A sharded model would be made here.)"""
        if self.world == 1:
            return model
        devices = [device] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


def current() -> Ranks:
    """This process among those of its run."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks()


def on_this_machine() -> int:
    """How many processes of this run share this machine's cores and memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[Ranks]:
    """Be one of the processes that torchrun has started: gloo between CPUs, NCCL between GPUs. ConfigError where this
    machine has fewer GPUs than processes."""
    cuda = torch.cuda.is_available()
    if cuda:
        there = torch.cuda.device_count()
        if on_this_machine() > there:
            raise ConfigError(
                f"torchrun has started {on_this_machine()} processes here, and there are {there} GPUs: give --nproc_per_node={there}, "
                "or hide the GPUs with CUDA_VISIBLE_DEVICES= to compute on the CPU."
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield current()
    finally:
        distributed.destroy_process_group()
