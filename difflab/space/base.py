"""z, the space in which the chain runs, and what a bound on z lacks to be a bound on x."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data.base import Stored
from ..gaussian import Unit


class Encoded(NamedTuple):
    """z float32 [B, *shape] and, for each of the space's `terms`, nats of each example, float64 [B]: with the chain's bound
    on z they add up to a bound on -log p(x), which holds in the mean over the noise that z was drawn with."""

    z: Tensor
    parts: Mapping[str, Tensor]

    @property
    def sum(self) -> Tensor:
        """The parts together, float64 [B]."""
        return torch.stack([*self.parts.values()]).sum(0) if self.parts else self.z.new_zeros(len(self.z)).double()


class Lessons(NamedTuple):
    """What a space learns from before the chain does: the training split (`to_unit` makes it x_0), on a device; every
    random number is a function of `seed`. batches(size, first, last): x_0 [size, ...] of each step first..last, on the
    device, a function of the step alone."""

    x: Stored
    to_unit: Callable[[Tensor], Tensor]
    device: torch.device
    seed: int
    batches: Callable[[int, int, int], Iterator[Tensor]]


class Lesson(NamedTuple):
    """So much of a space is learned, of so much; what there is to say of it."""

    done: int
    total: int
    notes: Mapping[str, float]


class Space(ABC):
    """A map of x_0 (the model's units) to z and back. One that learns is a module, so that a checkpoint holds it.

    terms: the names of Encoded.parts, in the ledger's order, all beginning with tables.SPACE.
    identity: z is x_0 itself, on its grid if it has one; else z is continuous, whatever the data are.
    unit: of a bound on x (None: the decoder's own, as z is no other thing than x).
    unit_of_lessons: what `learn` counts.
    ready: whether it has learned what it must know before it is used.
    """

    terms: tuple[str, ...] = ()
    identity = False
    unit: Unit | None = None
    unit_of_lessons = "example"

    @property
    def ready(self) -> bool:
        return True

    @abstractmethod
    def shape_of(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of z."""

    def levels_of(self, levels: int | None) -> int | None:
        """The grey levels of z, of data with `levels` (None: continuous)."""
        return levels if self.identity else None

    def noise_of(self, x_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of the unit normal noise that `encode` wants for each example; None: z is a function of x."""
        return None

    @abstractmethod
    def encode(self, x0: Tensor, noise: Tensor | None) -> Encoded:
        """z of x0 [B, ...], which is not differentiated; noise: [B, *noise_of] or None."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """x_0 float32 of z [B, ...], the mean of what z stands for: to look at."""

    def plain_nll(self, z: Tensor) -> Tensor | None:
        """-log p(z) in nats, float64 [B], of the law that z has in the model which the space alone would be, without a chain;
        None: there is no such model."""
        return None

    def learn(self, lessons: Lessons, progress: Mapping[str, Any]) -> Iterator[Lesson]:
        """Become ready, in pieces between which it may be saved and interrupted. `progress`: what the property said then (with
        the weights of that moment), or {}: from the beginning. Both ways end in the same, bit by bit."""
        return iter(())  # a space that is ready has nothing to learn

    @property
    def progress(self) -> dict[str, Any]:
        """What `learn` must know beside the weights to go on; {} where it begins anew or has ended."""
        return {}
