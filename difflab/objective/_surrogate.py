"""What the objectives have in common that teach the mean by a weighted error and a learned variance by the bound."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ..bound.terms import bound_term
from ..decoder.base import Decoder
from ..errors import ConfigError
from ..gaussian import BITS, expand, per_example
from ..learned import learns
from ..prediction import Prediction
from ..schedule.base import Schedule
from .base import Loss, Objective


class Surrogate(Objective):
    """mean_loss + vlb_weight vlb with the mean detached in vlb (Nichol & Dhariwal 2021, eq. 16).

    The mean learns from `mean_loss` alone, the variance from the bound alone; vlb = T L_{t-1} in bits/dim keeps its
    factor T. With a fixed variance the second term moves nothing; with vlb_weight = 0 it is not there.
    """

    def __init__(self, decoder: Decoder, schedule: Schedule, vlb_weight: float) -> None:
        if learns(schedule):
            raise ConfigError("a schedule that learns minimises the bound and nothing else; set objective=vlb.")
        if learns(decoder) and not vlb_weight:
            raise ConfigError(
                "a decoder that learns has no gradient but that of the bound; set objective=hybrid or objective.vlb_weight=0.001."
            )
        self.decoder, self.schedule, self.vlb_weight = decoder, schedule, vlb_weight

    @abstractmethod
    def mean_loss(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
        """What the mean learns from, [B]."""

    def __call__(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Loss:
        loss = self.mean_loss(prediction, x0, eps)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.vlb_weight > 0):
            nats = bound_term(self.decoder, prediction.with_detached_mean(), x0, eps).nats
        if self.vlb_weight:
            loss = loss + self.vlb_weight * (self.schedule.T * BITS.per_dim(nats, x0[0].numel()))
        return Loss(loss, nats.detach())


def check_learns_variance(choice: str, remedy: str, variance_heads: int) -> None:
    """The guard of objectives that give a variance head no gradient."""
    if variance_heads:
        raise ConfigError(f"{choice} gives a learned variance no gradient; set {remedy} or variance=fixed_beta.")


def check_vlb_weight(vlb_weight: float, variance_heads: int) -> None:
    """The guard of objectives whose vlb_weight may be 0."""
    if not vlb_weight >= 0:
        raise ConfigError(
            f"objective.vlb_weight={vlb_weight} must be at least 0; 0.001 is usual, and 0 does for a fixed variance."
        )
    if not vlb_weight:
        check_learns_variance("objective.vlb_weight=0", "objective.vlb_weight=0.001", variance_heads)


def simple_loss(prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
    """Mean squared error in the network's own target space (mean over dimensions), [B]."""
    error = prediction.target(x0, eps) - prediction.y
    return per_example(error.square()) / x0[0].numel()


def weighted_loss(log_weight: Tensor, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
    """weight * ||x_0 - x0_hat||^2 (mean over dimensions), [B], as an error of the network's own target.

    log_weight float64 [B], of the error of x0; -inf where the weight is 0. As x_0 - x0_hat = (sigma/det) (target - y),
    the target's own error weighs (sigma/det)^2 times as much: 1/SNR for eps, sigma^2 for v, 1/c0^2 for mu.
    """
    factor = prediction.step.t.log_var - 2 * torch.log(prediction.coefficients.det.abs())
    loss = simple_loss(prediction, x0, eps)
    return expand(torch.exp(log_weight + factor), loss) * loss
