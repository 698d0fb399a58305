"""A parameterization is two numbers per step: the network's target is y = p x_0 + q eps.

With det = p sigma_t - q alpha_t, the way back from a prediction y is
    x0_hat = (sigma_t y - q x_t) / det        eps_hat = (p x_t - alpha_t y) / det
so no conversion between parameterizations is ever written pairwise. `det` is given beside p and q because each variant
knows it without a subtraction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from ..schedule.base import Step


class Coefficients(NamedTuple):
    """y = p x_0 + q eps and det = p sigma_t - q alpha_t; float64 [B]."""

    p: Tensor
    q: Tensor
    det: Tensor


class Parameterization(ABC):
    @abstractmethod
    def coefficients(self, step: Step) -> Coefficients:
        """The target's coefficients at each step, float64 [B]."""
