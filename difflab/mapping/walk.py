"""Paths of x_t: q with one noise all along, and the walk of a sampler, which meets the same levels on its way back."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..bound.noise import key, normal
from ..diffusion import Diffusion
from ..prediction import Reading
from ..sampler.base import Sampler

VISIBLE = (7.0, -5.0)  # log SNR between which eyes see a picture drown
Show = Callable[[Tensor], np.ndarray]  # what is kept of a batch [N, ...]


def visible(diffusion: Diffusion) -> Callable[[Tensor], Tensor]:
    """What a person may look at of the chain's x_t: data, where the chain runs in another space."""
    return lambda x_t: diffusion.space.decode(diffusion.process.visible(x_t))


def forward(diffusion: Diffusion, x0: Tensor, index: Tensor, times: Tensor, seed: int) -> Tensor:
    """x_t ~ q(x_t|x_0) of every example at t = 0 and at each of `times` (int64 [L]), to be looked at, [L + 1, N, ...]; x0 is
    the chain's own.

    One unit noise an example along its whole path, keyed by (seed, the example's fixed id): each slice has the marginal's
    law, and x_t moves from data to noise without a jump.
    """
    zero = torch.zeros_like(index)
    eps = normal(key(seed, index, zero, zero), tuple(x0.shape[1:])).to(x0)
    process, level = diffusion.process, diffusion.schedule.level
    noised = [process.noised(x0, level(torch.full((len(x0),), int(t))), eps) for t in times]
    return torch.stack([diffusion.space.decode(x0), *map(visible(diffusion), noised)])


@dataclass
class Walk:
    """What a walk back was seen to pass: at each visited t (falling) x_t and the x_0 that the network then expects, as `show`
    keeps them of what is `visible`, data by `decode`; `x0`: where it ended."""

    show: Show
    visible: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    t: list[int] = field(default_factory=list)
    x: list[np.ndarray] = field(default_factory=list)
    x0_hat: list[np.ndarray] = field(default_factory=list)
    x0: np.ndarray = field(default_factory=lambda: np.empty(0))

    def watch(self, t: int, prediction: Reading) -> None:
        self.t.append(t)
        self.x.append(self.show(self.visible(prediction.x_t).cpu()))
        self.x0_hat.append(self.show(self.decode(prediction.x0_hat().float()).cpu()))

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(t rising [L], x [L + 1, N, ...] from t = 0, x0_hat [L, N, ...]) of the visited levels at `places` (rising, 0 is the
        one next to the data)."""
        back = [len(self.t) - 1 - int(place) for place in places]
        x = np.stack([self.x0, *(self.x[i] for i in back)])
        return np.array([self.t[i] for i in back]), x, np.stack([self.x0_hat[i] for i in back])


def reverse(
    diffusion: Diffusion,
    sampler: Sampler,
    shape: tuple[int, ...],
    seed: int,
    device: torch.device | str = "cpu",
    show: Show = torch.Tensor.numpy,
    on_step: Callable[[int, int], None] | None = None,
    chain: Callable[[int], Tensor] | None = None,
    label: Tensor | None = None,
) -> Walk:
    """The walk that `sampler` makes from its noise of `seed`: it ends in what sampler.sample gives."""
    walk = Walk(show, visible(diffusion), diffusion.space.decode)
    x0 = sampler.sample(diffusion, shape, seed, device, on_step, chain, label, walk.watch)
    walk.x0 = show(diffusion.space.decode(x0).cpu())
    return walk


def shortened(sampler: Sampler, steps: int | None, count: int) -> Sampler:
    """The same sampler for `count` samples and at most `steps` steps (None: its own number)."""
    short = copy(sampler)
    short.count = count
    if steps is not None:
        short.steps = steps if sampler.steps is None else min(steps, sampler.steps)
    return short


def places(log_snr: np.ndarray, shown: int) -> np.ndarray:
    """At most `shown` of the levels of a walk (log_snr [K], falling): both ends, and between them evenly in log SNR, the axis
    that schedules share, where there is something to see. int64, rising, from 0."""
    if len(log_snr) <= shown:
        return np.arange(len(log_snr))
    high, low = VISIBLE
    wanted = np.linspace(min(log_snr[0], high), max(log_snr[-1], low), max(shown - 2, 0))
    nearest = np.abs(log_snr[:, None] - wanted).argmin(axis=0)
    return np.unique([0, *nearest, len(log_snr) - 1])
