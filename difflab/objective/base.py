"""An objective turns a prediction into a loss and, always, into the bound term of the same example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from ..diffusion import Prediction


class Loss(NamedTuple):
    """loss: in the objective's own units, carries the gradient, [B]; nats: the bound term of each example's t, [B]."""

    loss: Tensor
    nats: Tensor


class Objective(ABC):
    @abstractmethod
    def __call__(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Loss:
        """Per example, before the importance weight of its t."""
