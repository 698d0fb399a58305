"""L_simple of DDPM (Ho et al. 2020, eq. 14): the unweighted error of the network's own target."""

from __future__ import annotations

import torch
from torch import Tensor

from ..bound.terms import bound_term
from ..decoder.base import Decoder
from ..diffusion import Prediction
from ..variance.base import Variance
from .base import Loss, Objective, check_learns_variance, simple_loss


class Simple(Objective):
    def __init__(self, decoder: Decoder, variance: Variance) -> None:
        check_learns_variance("simple", variance.heads)
        self.decoder = decoder

    def __call__(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Loss:
        with torch.no_grad():
            nats = bound_term(self.decoder, prediction, x0, eps).nats
        return Loss(simple_loss(prediction, x0, eps), nats)
