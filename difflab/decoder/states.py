"""p(x_0|x_1) of a process between states: the network's own probabilities."""

from __future__ import annotations

from torch import Tensor

from ..gaussian import BITS
from ..process._states import StatesReading, values_of
from .base import Decoder


class States(Decoder):
    """L_0 is -log p(x_0|x_1). (decoder=categorical is another thing: the levels of a Gaussian chain, from its noise alone.)"""

    clips = False
    reads_variance = False
    unit = BITS
    serves = ("states",)

    def nll(self, x0: Tensor, prediction: StatesReading) -> Tensor:
        return prediction.nll(x0)

    def shown(self, prediction: StatesReading, z: Tensor) -> Tensor:
        return values_of(prediction.draw(z), prediction.process.levels).float()
