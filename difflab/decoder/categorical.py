"""p(x_0|x_1) from the noise of x_1 alone: the softmax over grey levels of log q(x_1|level) (Kingma et al. 2021, VDM)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ConfigError
from ..gaussian import BITS, expand, per_example
from .base import Decoder

if TYPE_CHECKING:
    from ..prediction import Prediction

CELLS = 1 << 21  # numbers that are held at once, float64
NEGLIGIBLE = 80.0  # nats below which a level cannot be seen beside the nearest one in float64


class Categorical(Decoder):
    """In each dimension p(x_0 = level|x_1) is in proportion to N(x_1; alpha_1 level, sigma_1^2), over `levels` values
    spanning [-1, 1].

    Neither the network's mean nor its variance enters, so L_0 says what is lost where level 1 is still noisy: with
    g = (alpha_1 / sigma_1) 2 / (levels - 1) standard deviations between neighbours, a level costs about
    log2(sqrt(2 pi e) / g) bits below g = 2, 0.01 at g = 6 and 2.5e-6 at g = 10. With 256 levels a cosine chain of 1,000
    steps has g = 1.22 and loses 1.76 bits/dim there whatever the network knows (linear: 0.78 and 2.40), which also draws
    timestep=importance to a t = 1 where nothing can be learned; VDM's chains begin at g = 6. With 17 levels g is 19.5,
    and L_0 is nothing.
    """

    clips = True
    reads_variance = False
    unit = BITS

    def __init__(self, levels: int | None) -> None:
        if levels is None or levels < 2:
            raise ConfigError(
                "decoder=categorical needs data on a grid of grey levels; for continuous data set decoder=gaussian."
            )
        self.levels, self.spacing = levels, 2 / (levels - 1)

    def nll(self, x0: Tensor, prediction: Prediction) -> Tensor:
        level = ((x0.double() + 1) / self.spacing).round()
        # -log p = log(1 + sum over the other levels), to full relative precision however certain the level is
        parts = [
            torch.logaddexp(torch.zeros_like(m[:, 0]), torch.logsumexp(log_odds.masked_fill(m == 0, -math.inf), 1))
            for m, log_odds in self._others(level, prediction)
        ]
        nats = per_example(torch.cat(parts).reshape(x0.shape)).to(prediction.y)
        return nats + 0 * per_example(prediction.y)  # a batch of t = 1 alone has a gradient as well: zero

    def shown(self, prediction: Prediction, z: Tensor) -> Tensor:
        level = self._nearest(prediction)
        parts = [(torch.softmax(log_odds, 1) * m).sum(1) for m, log_odds in self._others(level, prediction)]
        return ((level + torch.cat(parts).reshape(level.shape)) * self.spacing - 1).to(prediction.x_t)

    def _nearest(self, prediction: Prediction) -> Tensor:
        """The number of the level nearest to x_1 / alpha_1, 0 to levels - 1, float64 [B, ...]."""
        x1 = prediction.x_t.double()
        level = (x1 / expand(prediction.step.t.alpha, x1) + 1) / self.spacing
        return level.nan_to_num(0.0).clamp(0, self.levels - 1).round()

    def _others(self, level: Tensor, prediction: Prediction) -> Iterator[tuple[Tensor, Tensor]]:
        """(m, log p(level + m|x_1) - log p(level|x_1)), float64 [n, candidates], for n dimensions after the other.

        With u = (x_1 - alpha_1 level) / sigma_1 the log odds are m g u - m^2 g^2 / 2. Levels farther from the nearest one
        than NEGLIGIBLE nats are left out: how many are seen depends on g, not on `levels`.
        """
        x1, at = prediction.x_t.double(), prediction.step.t
        g = self.spacing * at.alpha / at.sigma
        u = (x1 - expand(at.alpha, x1) * (level * self.spacing - 1)) / expand(at.sigma, x1)
        # `reach` levels away, from between two: reach (reach + 1) g^2 / 2 nats
        reach = math.ceil(math.sqrt(2 * NEGLIGIBLE) / max(float(g.detach().min()), 1e-9))
        candidates = torch.arange(min(2 * reach + 1, self.levels), dtype=torch.float64, device=x1.device)
        first = (self._nearest(prediction) - reach).clamp(0, self.levels - len(candidates))
        flat = (first, level, u, expand(g, x1).expand_as(x1))
        size = max(1, CELLS // len(candidates))
        for first_n, level_n, u_n, g_n in zip(*(tensor.flatten().split(size) for tensor in flat), strict=True):
            m = (first_n - level_n)[:, None] + candidates
            mg = m * g_n[:, None]
            yield m, mg * (u_n[:, None] - mg / 2)
