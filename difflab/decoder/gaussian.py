"""A Gaussian density for continuous data: -log N(x_0; m, v)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..gaussian import NATS, per_example
from .base import Decoder

if TYPE_CHECKING:
    from ..prediction import Prediction


class Gaussian(Decoder):
    """A density, so the bound is in nats/dim and may be negative."""

    clips = False
    reads_variance = True
    unit = NATS

    def nll(self, x0: Tensor, prediction: Prediction) -> Tensor:
        mean, log_var = prediction.gaussian()
        return -per_example(self.log_prob(x0, mean, log_var))

    def shown(self, prediction: Prediction, z: Tensor) -> Tensor:
        return prediction.mean()

    def log_prob(self, x0: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        """Of every dimension; shapes broadcast."""
        return -0.5 * ((x0 - mean).square() * torch.exp(-log_var) + log_var + math.log(2 * math.pi))
