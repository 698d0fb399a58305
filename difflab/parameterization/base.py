"""A parameterization is two numbers per step: the network's target is y = p x_0 + q eps.

With det = p sigma_t - q alpha_t, the way back from a prediction y is
    x0_hat = (sigma_t y - q x_t) / det        eps_hat = (p x_t - alpha_t y) / det
so no conversion between parameterizations is ever written pairwise. `det` is given beside p and q because each variant
knows it without a subtraction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import NotDefined
from ..schedule.base import Schedule, Step


class Coefficients(NamedTuple):
    """y = p x_0 + q eps and det = p sigma_t - q alpha_t; float64 [B]."""

    p: Tensor
    q: Tensor
    det: Tensor


class Parameterization(ABC):
    """serves: families of processes of which it is a target."""

    serves: tuple[str, ...] = ("gaussian",)

    @abstractmethod
    def coefficients(self, step: Step) -> Coefficients:
        """The target's coefficients at each step, float64 [B]."""


def check_recovers(name: str, parameterization: Parameterization, schedule: Schedule) -> None:
    """NotDefined if x_0 does not follow from the target at some t: where SNR_t = 0 a target without x_0 has det = 0."""
    lost = parameterization.coefficients(schedule.step(torch.arange(1, schedule.T + 1))).det == 0
    if bool(lost.any()):
        raise NotDefined(
            f"parameterization={name} says nothing of x_0 at t = {1 + int(lost.nonzero()[0])} of this schedule, where no signal is left; "
            "set parameterization=v, or a schedule that keeps some."
        )
