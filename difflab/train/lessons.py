"""What a space learns from before the chain is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import torch
from torch import Tensor

from ..data.base import Stored
from ..space.base import Lessons
from .loader import Order, source_of


def lessons(
    x: Stored, to_unit: Callable[[Tensor], Tensor], device: torch.device, seed: int, workers: int | None = 0
) -> Lessons:
    """Of a training split; batches are read as the chain's are, every epoch in a new order."""

    def batches(size: int, first: int, last: int) -> Iterator[Tensor]:
        with closing(source_of(x, Order(len(x), size, seed), workers, device)) as source:
            for step in range(first, last + 1):
                yield to_unit(source.batch(step))

    return Lessons(x, to_unit, device, seed, batches)
