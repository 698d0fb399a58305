"""A timestep sampler draws t for each example and says with what weight that keeps the gradient unbiased."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor


class Times(NamedTuple):
    """t int64 [B] in 1..T and iw = 1 / (T p_t) float64 [B], both on the CPU."""

    t: Tensor
    iw: Tensor


class Timestep(ABC):
    @abstractmethod
    def sample(self, batch: int, generator: torch.Generator) -> Times:
        """Draw with a CPU generator."""

    @abstractmethod
    def observe(self, t: Tensor, loss: Tensor) -> None:
        """Learn from the unweighted losses [B] of a training step."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]: ...

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Stateless(Timestep):
    """A sampler that learns nothing from the losses."""

    def observe(self, t: Tensor, loss: Tensor) -> None:
        pass

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass
