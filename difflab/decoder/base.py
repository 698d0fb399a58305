"""L_0 = -log p(x_0|x_1): how the last, slightly noisy picture becomes data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from ..gaussian import Unit


class Decoder(ABC):
    """`clips`: the data spans [-1, 1], and x0_hat may be clipped to that.
    `reads_variance`: L_0 depends on the variance of the step, so there is one at t = 1 to choose.
    `serves`: families of processes; `prediction` is what those read (prediction.Reading)."""

    clips: bool
    reads_variance: bool
    unit: Unit
    serves: tuple[str, ...] = ("gaussian",)

    @abstractmethod
    def nll(self, x0: Tensor, prediction: Any) -> Tensor:
        """-log p(x_0|x_1) in nats, [B], for a prediction at t = 1."""

    @abstractmethod
    def shown(self, prediction: Any, z: Tensor) -> Tensor:
        """What samples show of p(x_0|x_1) at t = 1, in the data's units [B, ...]: its mean, where its noise is below one grey
        level, else a draw by the unit noise z."""
