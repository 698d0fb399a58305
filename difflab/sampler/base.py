"""A sampler walks a K-step chain from x_T to x_0; one step is all a variant has to say."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.base import UNKNOWN
from ..diffusion import Diffusion
from ..errors import ConfigError
from ..prediction import Reading
from ..schedule.base import Schedule

if TYPE_CHECKING:
    from ..bound.estimator import Examples

OPTIMAL = "optimal:"


class Sampler(ABC):
    """`steps`: K, evenly spaced over the chain with both ends kept (None, or more than T: all T), or "optimal:K", the K
    levels that cost least bits for this model (bound/chain.py); `count`: how many samples; `clip_x0`: clip each x0_hat to
    the data range (no effect on continuous data); `guidance`: w of x0_hat(unknown) + w (x0_hat(label) - x0_hat(unknown)), for a
    network that is told labels and was taught what "unknown" means: 1 is the model itself, 0 the model without labels, above
    1 classifier-free guidance (Ho & Salimans 2022, whose w is this one less 1), whose samples are no longer those of the
    model that is measured. serves: families of processes whose readings it can walk along."""

    serves: tuple[str, ...] = ("gaussian",)
    free = True  # draws from the model, given no example

    def __init__(self, steps: int | str | None, count: int, clip_x0: bool, guidance: float) -> None:
        text, self.optimal = str(steps), isinstance(steps, str)
        number = text.removeprefix(OPTIMAL)
        if self.optimal and not (
            text.startswith(OPTIMAL) and number.isascii() and number.isdigit() and int(number) > 1
        ):
            raise ConfigError(
                f"sampler.steps={steps} must be a number, null for the whole chain, or optimal:K with K at least 2, such as optimal:50."
            )
        self.steps = int(number) if steps is not None else None
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"sampler.steps={steps} must be at least 1, or null for the whole chain.")
        if count < 1:
            raise ConfigError(f"sampler.count={count} must be at least 1.")
        if not 0 <= guidance < math.inf:
            raise ConfigError(
                f"sampler.guidance={guidance} must be at least 0: 1 is the model itself, 0 the model without labels, more than 1 guides."
            )
        self.count, self.clip_x0, self.guidance = count, clip_x0, guidance

    columns: int | None = None  # of the grid that its pictures are shown in (None: about as many as rows)

    def given(self, examples: Examples, seed: int) -> Sampler:
        """The sampler of one walk, which may look at held-out examples; itself if it does not."""
        return self

    def labels(self, classes: int, seed: int) -> Tensor:
        """A label for each sample, int64 [count]: as many of each class, in order, then a few that the seed draws."""
        each = self.count // classes
        order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
        return torch.cat([torch.arange(classes).repeat_interleave(each), order[: self.count - each * classes]])

    def arranged(self, x: Tensor) -> Tensor:
        """What of its samples [count, ...] is shown, in the order of a grid."""
        return x

    @abstractmethod
    def reverse(self, prediction: Any, z: Tensor) -> Tensor:
        """x_s from a prediction at t and unit noise z (same shape as x_t)."""

    def length(self, schedule: Schedule) -> int:
        """Steps of the walk over this chain."""
        return schedule.T if self.steps is None else min(self.steps, schedule.T)

    @property
    def nfe(self) -> int:
        """Network evaluations of each sample in each step."""
        return 1 if self.guidance in (0, 1) else 2

    def predicted(self, diffusion: Diffusion, x: Tensor, t: int, label: Tensor | None) -> Reading:
        """What is walked along from x_t, x [B, ...], given labels [B]."""

        def read(x: Tensor, label: Tensor | None) -> Reading:
            return diffusion(x, diffusion.schedule.step(torch.full((len(x),), t)), label)

        if self.guidance == 1:
            return read(x, label)
        if label is None:
            raise ValueError(f"sampler.guidance={self.guidance} needs the labels of the samples")
        unknown = torch.full_like(label, UNKNOWN)
        if self.guidance == 0:
            return read(x, unknown)
        both, rows = read(torch.cat([x, x]), torch.cat([label, unknown])), torch.arange(len(x))
        return both[rows].guided(both[rows + len(x)], self.guidance)

    @torch.no_grad()
    def sample(
        self,
        diffusion: Diffusion,
        shape: tuple[int, ...],
        seed: int,
        device: torch.device | str = "cpu",
        on_step: Callable[[int, int], None] | None = None,
        chain: Callable[[int], Tensor] | None = None,
        label: Tensor | None = None,
        watch: Callable[[int, Any], None] | None = None,
    ) -> Tensor:
        """x_0, float32 [count, *shape] on the device, given labels int64 [count] (None: unknown). Its noise depends on `seed`
        alone: runs share their grids' noise.

        chain(K): the levels of the optimal K-step chain, int64 [K], which a ledger of this model tells; ValueError if an
        optimal sampler is not given one. watch(t, prediction): called at every level of the walk, t that of the whole chain.
        """
        schedule = diffusion.schedule
        if (steps := self.length(schedule)) < schedule.T:
            if self.optimal and chain is None:
                raise ValueError(f"sampler.steps=optimal:{steps} needs the chain that a ledger of this model tells")
            schedule = schedule.respace(chain(steps) if self.optimal and chain else schedule.even(steps))
            diffusion = replace(diffusion, schedule=schedule)
        cond = None if label is None else label.to(device)
        generator = torch.Generator().manual_seed(seed)
        x = diffusion.process.prior_sample((self.count, *shape), generator).to(device)
        for t in range(schedule.T, 0, -1):
            prediction = self.predicted(diffusion, x, t, cond)
            if self.clip_x0 and diffusion.decoder.clips:
                prediction = prediction.clipped()
            if watch:
                watch(int(schedule.original[t]), prediction)
            z = torch.randn(x.shape, generator=generator).to(device)
            x = self.reverse(prediction, z) if t > 1 else diffusion.decoder.shown(prediction, z)
            if on_step:
                on_step(schedule.T + 1 - t, schedule.T)
        return x
