"""Samples given something of x_0: inpainting and denoising (Sohl-Dickstein et al. 2015, section 2.5 and appendix C).

A held-out example is observed as y = x_0 + noise z in the dimensions that are known. The paper multiplies a function r into
every distribution of the chain, p~(x_s|x_t) = p(x_s|x_t) r_s(x_s) / Z_s(x_t). Here, over the known dimensions,

    r_t(x_t) = N(y; alpha_t x_t, u_t),   u_t = sigma_t^2 + noise^2,

what p(y|x_t) would be if the data were the known distribution N(0, I). It is a Gaussian in x_s, so with m and v of p(x_s|x_t)
both are exact, where the paper moves the mean by v d log r_s / dx at m (the same to first order in v alpha^2 / u):

    Z_s(x_t) = N(y; alpha_s m, w),   w = alpha_s^2 v + u_s
    p~(x_s|x_t) = N(m + v alpha_s / w (y - alpha_s m), v u_s / w).

Those steps alone draw from the posterior only if Z_s(x_t) = r_t(x_t), as for data N(0, I) itself (with SNR_T = 0). Else they are off by what they
leave out, log w = sum of log Z_s(x_t) - log r_t(x_t), which does not vanish as T grows. So each sample is the survivor of
`particles` that carry this as their weight and are resampled by it: a twisted particle filter (Wu et al. 2023, algorithm 1,
with a twist that costs no gradient of the network). For any number of steps its law tends to p(x_1) r_1(x_1) p(x_0|x_1) as
particles grow, the error falling like 1 / particles, and exp(log_evidence) is an unbiased estimate of that law's normaliser
for every number of them. r_1 is p(y|x_0) up to the noise of x_1: as if y carried the noise variance noise^2 + 2 sigma_1^2,
less than one grey level on chains that begin near the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ConfigError
from ..gaussian import expand
from ..prediction import Prediction
from ..schedule.base import Level
from .base import Sampler

if TYPE_CHECKING:
    from ..bound.estimator import Examples

# Which dimensions are hidden; from random numbers u in (0, 1) of each, [H, W] ([1, D] of a vector), and `share`.
MASKS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "none": lambda u, share: torch.zeros_like(u, dtype=torch.bool),
    "left": lambda u, share: torch.arange(u.shape[1]).expand_as(u) < u.shape[1] // 2,
    "top": lambda u, share: torch.arange(u.shape[0])[:, None].expand_as(u) < u.shape[0] // 2,
    "centre": lambda u, share: _middle(u.shape[0])[:, None] & _middle(u.shape[1]),
    "random": lambda u, share: u.flatten().argsort().argsort().reshape(u.shape) < round(share * u.numel()),
}


class Conditioned(Sampler):
    """`examples`: how many held-out examples are completed, `count` times each, every time by `particles` of its own. `mask`:
    what is hidden of them (a key of MASKS), `share`: of the dimensions, by mask=random. `noise`: standard deviation of what
    is seen, in the units of the data's own [-1, 1]."""

    # what `given` adds, for one walk
    truth: Tensor  # the examples [n, ...]
    label: Tensor  # int64 [n]
    seen: Tensor  # y [n, ...], of which the known dimensions count
    known: Tensor  # bool [...]
    generator: torch.Generator
    log_w: Tensor  # of the particles since they were last resampled, float64 [examples * completions, particles]
    log_evidence: Tensor  # before that, float64 [examples * completions]
    first: bool

    free = False

    def __init__(
        self,
        *,
        steps: int | str | None,
        count: int,
        clip_x0: bool,
        examples: int,
        particles: int,
        mask: str,
        share: float,
        noise: float,
    ) -> None:
        for key, value in (("count", count), ("examples", examples), ("particles", particles)):
            if value < 1:
                raise ConfigError(f"sampler.{key}={value} must be at least 1.")
        super().__init__(steps, examples * count * particles, clip_x0, 1.0)  # its weights are those of the model itself
        if steps == 1:
            raise ConfigError(
                "sampler.steps=1 leaves no step to multiply what is given into; set sampler.steps=2 or more."
            )
        if mask not in MASKS:
            raise ConfigError(f"sampler.mask={mask} must be one of {', '.join(MASKS)}: what is hidden of the examples.")
        if not 0 < share < 1:
            raise ConfigError(
                f"sampler.share={share} must lie between 0 and 1: of the dimensions, what mask=random hides."
            )
        if not 0 <= noise < math.inf:
            raise ConfigError(f"sampler.noise={noise} must be at least 0: the standard deviation of what is seen.")
        if mask == "none" and noise == 0:
            raise ConfigError(
                "sampler.mask=none with sampler.noise=0 gives the whole example: there is nothing left to draw; set sampler.noise=0.5, or a mask."
            )
        self.examples, self.completions, self.particles = examples, count, particles
        self.columns = examples
        self.mask, self.share, self.noise = mask, share, noise

    def given(self, examples: Examples, seed: int) -> Conditioned:
        """A sampler of these examples' posterior, for one walk. What is hidden and the noise on y are the seed's alone."""
        bound, generator = copy(self), torch.Generator().manual_seed(seed + 1)  # the walk's own noise is `seed`'s
        examples = examples.first(self.examples)
        bound.truth, bound.label = examples.x0(slice(None)).cpu(), examples.cond(slice(None))
        if (found := len(bound.truth)) < self.examples:
            raise ConfigError(f"sampler.examples={self.examples} are more than the {found} test examples; give fewer.")
        shape = bound.truth.shape[1:]
        plane = shape[-2:] if len(shape) > 1 else (1, *shape)
        hidden = MASKS[self.mask](torch.rand(plane, generator=generator), self.share)
        if bool(hidden.all()) or (self.mask != "none" and not bool(hidden.any())):
            raise ConfigError(
                f"sampler.mask={self.mask} hides {'all' if bool(hidden.any()) else 'nothing'} of data of shape {list(shape)}; choose "
                f"another of {', '.join(MASKS)}."
            )
        bound.known = ~hidden.reshape(hidden.shape if len(shape) > 1 else shape).expand(shape)
        bound.seen = bound.truth + self.noise * torch.randn(bound.truth.shape, generator=generator)
        bound.generator = generator
        bound.log_w = torch.zeros(self.examples * self.completions, self.particles, dtype=torch.float64)
        bound.log_evidence = torch.zeros(self.examples * self.completions, dtype=torch.float64)
        bound.first = True
        return bound

    def labels(self, classes: int, seed: int) -> Tensor:
        """Of the examples themselves."""
        return self.label.repeat_interleave(self.completions * self.particles)

    def reverse(self, prediction: Prediction, z: Tensor) -> Tensor:
        """One step of all particles: weighed by Z_s(x_t) / r_t(x_t), resampled where few of them carry the weight, moved."""
        step, x_t = prediction.step, prediction.x_t
        y = self.seen.to(x_t).repeat_interleave(self.completions * self.particles, 0)
        mean, log_var = prediction.gaussian()
        var = log_var.exp()
        # r_T is a part of the weight that the first step takes back
        before = torch.zeros_like(self.log_w) if self.first else self._log_r(y, x_t, step.t)
        self.first = False
        alpha, u = expand(step.s.alpha, x_t), self._u(step.s, x_t)
        w = alpha.square() * var + u
        self.log_w = self.log_w + self._known_log_normal(y - alpha * mean, w) - before
        rows = self._survivors().to(x_t.device)
        gain, var_s = var * alpha / w, var * u / w
        moved = torch.where(self.known.to(x_t.device), mean + gain * (y - alpha * mean), mean)
        var_s = torch.where(self.known.to(x_t.device), var_s, var)
        return moved[rows] + var_s.expand_as(moved)[rows].sqrt() * z

    def arranged(self, x: Tensor) -> Tensor:
        """One particle of each completion, drawn by its weight; of pictures, below the originals and what was given of them:
        rows of `columns` pictures."""
        own = torch.multinomial(self.log_w.softmax(1), 1, generator=self.generator)[:, 0]
        rows = torch.arange(len(own)) * self.particles + own
        drawn = x[rows.to(x.device)].unflatten(0, (self.examples, self.completions))
        seen = self.seen.to(x)[:, None]
        if self.noise == 0:
            drawn = torch.where(self.known.to(x.device), seen, drawn)
        if x.dim() != 4:
            return drawn.flatten(0, 1)
        shown = torch.where(self.known.to(x.device), seen, torch.zeros_like(seen))
        return torch.cat([self.truth.to(x)[:, None], shown, drawn], 1).transpose(0, 1).flatten(0, 1)

    @property
    def evidence(self) -> Tensor:
        """log of the estimate of p(y) (with y seen through r_1), nats, float64 [examples * completions], after a walk."""
        return self.log_evidence + self.log_w.logsumexp(1) - math.log(self.particles)

    def _u(self, level: Level, like: Tensor) -> Tensor:
        return expand(level.sigma.square() + self.noise**2, like)

    def _log_r(self, y: Tensor, x: Tensor, level: Level) -> Tensor:
        return self._known_log_normal(y - expand(level.alpha, x) * x, self._u(level, x))

    def _known_log_normal(self, difference: Tensor, var: Tensor) -> Tensor:
        """log N(difference; 0, var) over the known dimensions, float64, [examples * completions, particles]."""
        each = -0.5 * (difference.square() / var + var.log() + math.log(2 * math.pi)).double()
        return (each * self.known.to(each.device)).flatten(1).sum(1).cpu().reshape(self.log_w.shape)

    def _survivors(self) -> Tensor:
        """Which particle each particle goes on from, int64 [rows]: itself, or, where the effective number of a completion's
        particles is below half, systematic draws by weight, which then weigh alike."""
        groups, count = self.log_w.shape
        weights = self.log_w.softmax(1)
        u = torch.rand(groups, 1, generator=self.generator, dtype=torch.float64)
        places = (torch.arange(count) + u) / count
        drawn = torch.searchsorted(weights.cumsum(1), places).clamp(max=count - 1)
        degenerate = (1 / weights.square().sum(1) < count / 2)[:, None]
        level = self.log_w.logsumexp(1, keepdim=True) - math.log(count)
        self.log_evidence = self.log_evidence + torch.where(degenerate, level, torch.zeros_like(level))[:, 0]
        self.log_w = torch.where(degenerate, torch.zeros_like(self.log_w), self.log_w)
        rows = torch.where(degenerate, drawn, torch.arange(count).expand_as(drawn))
        return (rows + count * torch.arange(groups)[:, None]).flatten()


def _middle(size: int) -> Tensor:
    """bool [size]: the middle half."""
    return (torch.arange(size) >= size // 4) & (torch.arange(size) < size - size // 4)
