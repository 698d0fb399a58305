"""An objective turns a prediction into a loss and, always, into the bound term of the same example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """loss: in the objective's own units, carries the gradient, [B]; nats: the bound term of each example's t, [B];
    besides: in the units of loss, what each example costs whatever its t, and so without the importance weight, [B] (None:
    nothing)."""

    loss: Tensor
    nats: Tensor
    besides: Tensor | None = None


class Objective(ABC):
    """serves: families of processes whose readings it can be computed of."""

    serves: tuple[str, ...] = ("gaussian",)

    @abstractmethod
    def __call__(self, prediction: Any, x0: Tensor, eps: Tensor) -> Loss:
        """Per example, before the importance weight of its t."""
