"""A contender: a network and the loops around it, as functions that do a little work and say how much."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.flop_counter import FlopCounterMode

from ..pictures import Noise
from ..work import Shape

Piece = Callable[[], int]  # does a piece of work; images trained on, or network evaluations (nfe)
T = 1000  # length of every contender's chain
STEPS = 2  # steps of a walk when sampling is timed: each costs the same
EXAMPLES = 256  # pictures there are


class Contender(ABC):
    """Pictures are float32 [B, *shape] in [-1, 1]; networks give a mean and a variance head, [B, 2 C, H, W]."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.shape, self.device = shape, device

    @property
    @abstractmethod
    def network(self) -> Module: ...

    @abstractmethod
    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        """What the network is called with."""

    @abstractmethod
    def train(self, batch: int) -> Piece:
        """One training step."""

    @abstractmethod
    def bound(self, batch: int) -> Piece:
        """Some terms of the bound."""

    @abstractmethod
    def ancestral(self, batch: int) -> Piece:
        """A walk of STEPS steps, from noise to pictures."""

    @abstractmethod
    def ddim(self, batch: int) -> Piece:
        """The same, deterministic."""

    def precision(self, kind: str) -> str:
        """fp32 or bf16: what a kind of work is computed in."""
        return "fp32"

    def flops(self) -> int:
        """Of one picture's forward pass; a multiplication and an addition are two."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.network(*self.inputs(1))
        return counter.get_total_flops()

    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())


def pictures(shape: Shape, device: torch.device) -> Tensor:
    """The pictures every contender works on, float32 [EXAMPLES, *shape] in [-1, 1]."""
    noise = Noise(shape=list(shape), count=EXAMPLES)
    return noise.to_unit(noise.train.x[torch.arange(EXAMPLES)]).to(device)
