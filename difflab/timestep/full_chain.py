"""Every term of every example: the whole bound in each step, along one path of the Markov chain (Sohl-Dickstein et al. 2015).

A path x_1..x_T of q(x_t|x_{t-1}) is x_t = alpha_t x_0 + sigma_t eps_t with unit noise that remembers the step before:

    eps_t = sqrt(1 - c) eps_s + sqrt(c) z,   1 - c = SNR_t / SNR_s

(with alpha_t/alpha_s sigma_s and sqrt(beta) both divided by sigma_t), so nothing of a path is kept but its last eps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..errors import ConfigError
from ..schedule.base import Schedule
from .base import Draw, Stateless, Times


class FullChain(Stateless):
    """t = 1..T in order, `chunk` of them in one network call: memory grows with `chunk` and not with T. Each term counts
    once, as if drawn uniformly (iw = 1). `markov`: along a path; else each t has its own noise."""

    def __init__(self, schedule: Schedule, *, chunk: int, markov: bool) -> None:
        if not 1 <= chunk <= schedule.T:
            raise ConfigError(
                f"timestep.chunk={chunk} must lie in 1..{schedule.T} (schedule.T): so many terms of each example in one network call."
            )
        self.chunk, T = chunk, schedule.T
        self.times = torch.arange(1, T + 1)
        self.widths = (chunk,) * (T // chunk) + ((T % chunk,) if T % chunk else ())
        c = schedule.step(self.times).c
        self.kept, self.fresh = (1 - c).sqrt() * markov, c.sqrt() if markov else torch.ones_like(c)

    def draws(self, batch: int, generator: torch.Generator, normal: Callable[[], Tensor]) -> Iterator[Draw]:
        eps: Tensor | float = 0.0
        for times in self.times.split(self.chunk):
            path = []
            for t in times.tolist():
                eps = float(self.kept[t - 1]) * eps + float(self.fresh[t - 1]) * normal()
                path.append(eps)
            t = times.expand(batch, -1)
            yield Draw(Times(t, torch.ones(t.shape, dtype=torch.float64)), torch.stack(path, 1))
