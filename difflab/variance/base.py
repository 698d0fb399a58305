"""A reverse variance is written as its excess over the posterior's: log v = log beta_tilde + excess.

So the variance part of the KL, 1/2 (expm1(k) - k) with k = -excess, is exact: log beta_tilde never enters it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from ..schedule.base import Step


class Variance(ABC):
    """`heads`: network outputs per data dimension, beside the prediction itself, that this variance reads; `serves`: families
    of processes whose steps have one."""

    heads: int
    serves: tuple[str, ...] = ("gaussian",)

    @abstractmethod
    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        """log v - log beta_tilde: float64 [B, 1, ...] (fixed) or like `output` [B, ...] (learned).

        `output` is the network's variance head (None where heads = 0). At t = 1 beta_tilde reads beta_tilde_2.
        """


class Fitted(Variance):
    """A variance that is computed from training examples and the averaged weights, at every validation."""

    @abstractmethod
    def take(self, log_snr: Tensor, mse_x0: Tensor, first: float) -> None:
        """Become the best for a mean: mse_x0 [T + 1], its squared error of x0_hat per dimension at the levels log_snr [T + 1]
        (slot 0 unused); first: the best log v at t = 1. float64."""
