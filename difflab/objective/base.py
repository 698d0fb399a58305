"""An objective turns a prediction into a loss and, always, into the bound term of the same example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from ..diffusion import Prediction
from ..gaussian import per_example


class Loss(NamedTuple):
    """loss: in the objective's own units, carries the gradient, [B]; nats: the bound term of each example's t, [B]."""

    loss: Tensor
    nats: Tensor


class Objective(ABC):
    @abstractmethod
    def __call__(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Loss:
        """Per example, before the importance weight of its t."""


def simple_loss(prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
    """Mean squared error in the network's own target space (mean over dimensions), [B]."""
    error = prediction.target(x0, eps) - prediction.y
    return per_example(error.square()) / x0[0].numel()


def check_learns_variance(name: str, variance_heads: int) -> None:
    """The guard of objectives that give a variance head no gradient."""
    from ..errors import ConfigError

    if variance_heads:
        raise ConfigError(
            f"objective={name} gives a learned variance no gradient; set objective=hybrid or variance=fixed_beta."
        )
