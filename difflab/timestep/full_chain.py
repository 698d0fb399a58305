"""Every term of every example: the whole bound in each step, along one path of the Markov chain (Sohl-Dickstein et al. 2015).

A path x_1..x_T of q(x_t|x_{t-1}) has unit noise that remembers the step before (Process.carried), so nothing of a path is
kept but its last eps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..errors import ConfigError, NotDefined
from ..process.base import Process
from ..schedule.base import Schedule
from .base import Draw, Stateless, Times


class FullChain(Stateless):
    """t = 1..T in order, `chunk` of them in one network call: memory grows with `chunk` and not with T. Each term counts
    once, as if drawn uniformly (iw = 1). `markov`: along a path; else each t has its own noise."""

    def __init__(self, process: Process, schedule: Schedule, *, chunk: int, markov: bool) -> None:
        if not 1 <= chunk <= schedule.T:
            raise ConfigError(
                f"timestep.chunk={chunk} must lie in 1..{schedule.T} (schedule.T): so many terms of each example in one network call."
            )
        if markov and schedule.continuous:
            raise NotDefined(
                "timestep.markov=true follows a path from level to level of a chain, and schedule.T=inf draws its levels anew; set timestep.markov=false."
            )
        self.process, self.schedule, self.chunk, self.markov, T = process, schedule, chunk, markov, schedule.T
        self.times = torch.arange(1, T + 1)
        self.widths = (chunk,) * (T // chunk) + ((T % chunk,) if T % chunk else ())

    def draws(self, batch: int, generator: torch.Generator, normal: Callable[[], Tensor]) -> Iterator[Draw]:
        eps: Tensor | None = None
        for times in self.times.split(self.chunk):
            path = []
            for t in times:
                z = normal()
                eps = z if eps is None or not self.markov else self._carried(eps, t, z)
                path.append(eps)
            t = times.expand(batch, -1)
            yield Draw(Times(t, torch.ones(t.shape, dtype=torch.float64)), torch.stack(path, 1))

    @torch.no_grad()  # its law does not depend on the schedule, whatever that learns
    def _carried(self, eps: Tensor, t: Tensor, z: Tensor) -> Tensor:
        return self.process.carried(eps, self.schedule.step(t[None]), z)
