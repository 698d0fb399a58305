"""A timestep sampler says which terms of each example's bound a training step looks at, and with what weight that keeps
the gradient unbiased."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Times(NamedTuple):
    """t int64 in 1..T and iw = 1 / (T p_t) float64, of the same shape, both on the CPU."""

    t: Tensor
    iw: Tensor


class Draw(NamedTuple):
    """What one network call looks at: `times` [B, n], n terms of every example of the batch, and the unit noise eps
    [b, n, ...] that makes their x_t, of this process's examples."""

    times: Times
    eps: Tensor


class Timestep(ABC):
    """`widths`: how many terms of each example each network call of a training step looks at."""

    widths: tuple[int, ...]

    @abstractmethod
    def draws(self, batch: int, generator: torch.Generator, normal: Callable[[], Tensor]) -> Iterator[Draw]:
        """One for each of `widths`. `generator`: on the CPU, for t. normal(): fresh unit noise for every example [b, ...]."""

    @abstractmethod
    def observe(self, t: Tensor, loss: Tensor) -> None:
        """Learn from the unweighted losses of a training step, one for each t."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]: ...

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class OneTerm(Timestep):
    """One t for each example."""

    widths = (1,)

    def draws(self, batch: int, generator: torch.Generator, normal: Callable[[], Tensor]) -> Iterator[Draw]:
        times = self.sample(batch, generator)
        yield Draw(Times(times.t[:, None], times.iw[:, None]), normal()[:, None])

    @abstractmethod
    def sample(self, batch: int, generator: torch.Generator) -> Times:
        """[B], drawn with a CPU generator."""


class Stateless(Timestep):
    """Learns nothing from the losses."""

    def observe(self, t: Tensor, loss: Tensor) -> None:
        pass

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass
