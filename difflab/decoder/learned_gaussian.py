"""A Gaussian around x0_hat whose variance is learned, apart from that of every other step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..gaussian import BITS, NATS, per_example
from ..learned import at_speed, check_speed
from ..schedule.base import Schedule
from .base import Decoder
from .discretized_gaussian import DiscretizedGaussian
from .gaussian import Gaussian

if TYPE_CHECKING:
    from ..prediction import Prediction


class LearnedGaussian(nn.Module, Decoder):
    """p(x_0|x_1) = N(m, sigma_0^2), integrated over each bin where the data lies on a grid of `levels` values (bits/dim), a
    density where it does not (nats/dim).

    log sigma_0^2 is one number, or one for each channel (each coordinate of a vector) with `per_channel`, and moves `speed`
    times as fast as a weight. It begins at log beta_1, what variance=fixed_beta has at t = 1; the bound's term of t = 1
    trains it, and no variance of the steps enters L_0 any more.
    """

    reads_variance = False

    def __init__(
        self, levels: int | None, shape: tuple[int, ...], schedule: Schedule, *, per_channel: bool, speed: float
    ) -> None:
        super().__init__()
        check_speed("decoder.speed", speed)
        self.family = Gaussian() if levels is None else DiscretizedGaussian(levels)
        self.clips, self.unit = levels is not None, NATS if levels is None else BITS
        self.speed, self.dims = speed, len(shape)
        beta_1 = schedule.step(torch.ones(1, dtype=torch.int64)).log_beta.detach()
        self.rate = nn.Parameter((beta_1 / speed).float().repeat(shape[0] if per_channel else 1))

    @property
    def log_var(self) -> Tensor:
        """log sigma_0^2, float64 [1, 1 or C, 1, ...]."""
        return at_speed(self.rate, self.speed).reshape(1, -1, *[1] * (self.dims - 1))

    def nll(self, x0: Tensor, prediction: Prediction) -> Tensor:
        mean = prediction.mean()
        return -per_example(self.family.log_prob(x0, mean, self.log_var.to(mean)))

    def shown(self, prediction: Prediction, z: Tensor) -> Tensor:
        return prediction.mean()
