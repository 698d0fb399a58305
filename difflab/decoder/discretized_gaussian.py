"""A Gaussian integrated over each grey level's bin (Ho et al. 2020, eq. 13), with the exact normal CDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.special import log_ndtr

from ..errors import ConfigError
from ..gaussian import BITS, per_example
from .base import Decoder

if TYPE_CHECKING:
    from ..prediction import Prediction


class DiscretizedGaussian(Decoder):
    """Bins of half-width 1 / (levels - 1) around `levels` values spanning [-1, 1]; the outer bins are open.

    No tanh approximation of the CDF and no floor under the probability: both distort the term or kill its gradient.
    """

    clips = True
    reads_variance = True
    unit = BITS

    def __init__(self, levels: int | None) -> None:
        if levels is None or levels < 2:
            raise ConfigError(
                "decoder=discretized_gaussian needs data on a grid of grey levels; for continuous data set decoder=gaussian."
            )
        self.levels = levels

    def nll(self, x0: Tensor, prediction: Prediction) -> Tensor:
        mean, log_var = prediction.gaussian()
        return -per_example(self.log_prob(x0, mean, log_var))

    def shown(self, prediction: Prediction, z: Tensor) -> Tensor:
        """Of the Gaussian, before it is cut into bins."""
        return prediction.mean()

    def log_prob(self, x0: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        """log P(x_0) for every dimension; x0 on the grid, shapes broadcast.

        Inside in float64 (only t = 1 comes here): in float32 a bin much narrower than the normal cancels, and torch's
        gradient of log_ndtr is off by 1% at 500 standard deviations and by 1e5 at 1e5.
        """
        dtype = mean.dtype
        x0, mean, log_var = x0.double(), mean.double(), log_var.double()
        half, precision = 1 / (self.levels - 1), torch.exp(-0.5 * log_var)
        # The normal is symmetric: seen from the lower tail, where log_ndtr keeps its digits, both edges are the same
        # pair. log[Phi(hi) - Phi(lo)] = log Phi(hi) + log1mexp(log Phi(hi) - log Phi(lo)).
        centre = (x0 - mean) * precision
        sign = torch.where(centre > 0, -1.0, 1.0)
        far, near = sign * centre - half * precision, sign * centre + half * precision  # far < near, mostly below 0
        log_far, log_near = log_ndtr(far), log_ndtr(near)
        gap = (log_near - log_far).clamp(min=torch.finfo(torch.float64).tiny)
        inner = log_near + log1mexp(gap)
        at_bottom, at_top = x0 < -1 + half, x0 > 1 - half
        # the outer bins are one CDF: P(bottom) = Phi((x0 - m + half)/sd), P(top) = Phi(-(x0 - m - half)/sd)
        outer = log_ndtr(torch.where(at_top, -1.0, 1.0) * centre + half * precision)
        return torch.where(at_bottom | at_top, outer, inner).to(dtype)


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0, without cancellation at either end (Maechler 2012)."""
    small = x < 0.6931
    return torch.where(
        small,
        torch.log(-torch.expm1(-torch.where(small, x, 0.5))),
        torch.log1p(-torch.exp(-torch.where(small, 1.0, x))),
    )
