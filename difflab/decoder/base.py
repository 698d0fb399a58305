"""L_0 = -log p(x_0|x_1): how the last, slightly noisy picture becomes data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from ..gaussian import Unit

if TYPE_CHECKING:  # a decoder reads a prediction; diffusion.py, which defines it, holds a decoder
    from ..diffusion import Prediction


class Decoder(ABC):
    """`discrete`: the data lies on a grid of `levels` values spanning [-1, 1] and L_0 is a probability mass.
    `reads_variance`: L_0 depends on the variance of the step, so there is one at t = 1 to choose."""

    discrete: bool
    reads_variance: bool
    unit: Unit

    @abstractmethod
    def nll(self, x0: Tensor, prediction: Prediction) -> Tensor:
        """-log p(x_0|x_1) in nats, [B], for a prediction at t = 1."""

    @abstractmethod
    def mean(self, prediction: Prediction) -> Tensor:
        """The mean of p(x_0|x_1), which samples show, [B, ...]."""
