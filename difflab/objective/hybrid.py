"""L_simple + weight L_vlb with the mean detached in L_vlb (Nichol & Dhariwal 2021, eq. 16)."""

from __future__ import annotations

from torch import Tensor

from ..decoder.base import Decoder
from ..errors import ConfigError
from ..prediction import Prediction
from ..schedule.base import Schedule
from ._surrogate import Surrogate, simple_loss


class Hybrid(Surrogate):
    """With a fixed variance the second term moves nothing and the objective is L_simple."""

    def __init__(self, decoder: Decoder, schedule: Schedule, *, vlb_weight: float) -> None:
        if not vlb_weight > 0:
            raise ConfigError(f"objective.vlb_weight={vlb_weight} must be positive; the paper's value is 0.001.")
        super().__init__(decoder, schedule, vlb_weight)

    def mean_loss(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
        return simple_loss(prediction, x0, eps)
