"""Diffusion between K states (Sohl-Dickstein et al. 2015, table App.1; Austin et al. 2021, "D3PM").

In every dimension x_t is still x_0 with probability abar = sigmoid(log_snr), else noise. So the levels, steps and schedules of
the Gaussian process serve here, too; log_snr is the log odds of x_t being x_0's own. A network predicts p(x_0|x_t), and

    p(x_s|x_t) = sum over x_0 of q(x_s|x_t,x_0) p(x_0|x_t)

in each dimension, so that exact probabilities of x_0 would give the exact reverse step of that dimension.

x_0 is float [B, ...] in the data's units, levels over [-1, 1]; x_t int64 [B, ...], the number of the state. Probabilities are
float64 [B, ..., K]: of a term that is a small difference, a thousand are added up.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.special import ndtr, ndtri

from ..errors import NotDefined
from ..gaussian import KL, expm1_minus, per_example, sent
from ..parameterization.base import Parameterization
from ..prediction import Reading
from ..schedule.base import Level, Schedule, Step
from ..variance.base import Variance
from .base import Process


def states_of(x0: Tensor, levels: int) -> Tensor:
    """int64 states of x_0 in the data's units."""
    return ((x0.double() + 1) * ((levels - 1) / 2)).round().long()


def values_of(states: Tensor, levels: int) -> Tensor:
    """States in the data's units, float64."""
    return states.double() * (2 / (levels - 1)) - 1


def beside(coefficient: Tensor, like: Tensor) -> Tensor:
    """A float64 coefficient [B], on the device of `like` [B, ...] and shaped to stand beside it."""
    return sent(coefficient, like.device).reshape(-1, *[1] * (like.dim() - 1))


def abar(level: Level, like: Tensor) -> Tensor:
    """Probability that x_t is x_0's own, float64 [B, 1, ...]."""
    return beside(torch.sigmoid(level.log_snr), like)


def noise_share(level: Level, like: Tensor) -> Tensor:
    """1 - abar without cancellation."""
    return beside(torch.sigmoid(-level.log_snr), like)


class States(Process):
    """What all processes between states have in common: the path of a dimension, whatever state noise puts it in."""

    family = "states"
    priced = False

    def __init__(self, levels: int | None, smallest: int = 2) -> None:
        if levels is None or levels < smallest:
            raise NotDefined(
                "this process is one between states, and the data is continuous; set process=gaussian, or data with levels."
            )
        self.levels = levels

    @abstractmethod
    def noise_state(self, share: Tensor) -> Tensor:
        """The state that noise has put a dimension in, int64, from a uniform number in [0, 1)."""

    @abstractmethod
    def logits(self, raw: Tensor) -> Tensor:
        """The network's output as log odds of the K states of x_0, [B, ..., K]."""

    def noised(self, x0: Tensor, level: Level, eps: Tensor) -> Tensor:
        u, kept = ndtr(eps.double()), abar(level, eps)
        share = ((u - kept) / noise_share(level, eps)).clamp(0, 1)
        return torch.where(u < kept, states_of(x0, self.levels), self.noise_state(share))

    def carried(self, eps: Tensor, step: Step, z: Tensor) -> Tensor:
        # u < abar says "still x_0's own", what is above it, stretched to [0, 1), which noise; a step keeps either with
        # probability abar_t / abar_s and draws anew else
        u, v = ndtr(eps.double()), ndtr(z.double())
        before, after = abar(step.s, eps), abar(step.t, eps)
        keep = after / before
        own, kept = u < before, v < keep
        old = ((u - before) / noise_share(step.s, eps)).clamp(0, 1)
        new = ((v - keep) / (1 - keep)).clamp(0, 1)
        noise = after + noise_share(step.t, eps) * torch.where(kept, old, new)
        return ndtri(torch.where(own & kept, u * keep, noise)).clamp(-8, 8).to(eps)

    def check(self, schedule: Schedule) -> None:
        """Any chain will do: L_T says what it costs."""

    def visible(self, x_t: Tensor) -> Tensor:
        values = values_of(x_t, self.levels).float()
        return torch.where(x_t < self.levels, values, 0.0)  # a mask is grey

    def read(
        self, raw: Tensor, x_t: Tensor, step: Step, parameterization: Parameterization, variance: Variance
    ) -> StatesReading:
        log_p = torch.log_softmax(self.logits(raw).double() + self.evidence(x_t, step.t), -1)
        return StatesReading(self, log_p, x_t, step)

    @abstractmethod
    def evidence(self, x_t: Tensor, level: Level) -> Tensor:
        """log q(x_t|x_0) of each x_0 up to a constant, float64 [B, ..., K]: what a dimension's own x_t says of its x_0. The
        network's logits are what all the others say, so a network that says nothing pays log K and no more."""

    @abstractmethod
    def transition_kl(self, reading: StatesReading, x0: Tensor) -> Tensor:
        """L_{t-1} in nats of each dimension, float64."""

    @abstractmethod
    def decoder_nll(self, reading: StatesReading, x0: Tensor) -> Tensor:
        """-log p(x_0|x_1) in nats of each dimension, float64."""

    @abstractmethod
    def reverse(self, reading: StatesReading) -> Tensor:
        """p(x_s|x_t), float64 [B, ..., states]."""

    @abstractmethod
    def x0_probabilities(self, reading: StatesReading) -> Tensor:
        """p(x_0|x_t), float64 [B, ..., K]."""


@dataclass(frozen=True)
class StatesReading(Reading):
    """log_p: of the network's states of x_0, float64 [B, ..., K]."""

    process: States
    log_p: Tensor
    x_t: Tensor
    step: Step

    def __getitem__(self, rows: Tensor) -> StatesReading:
        on_device = rows.to(self.x_t.device)
        return replace(self, log_p=self.log_p[on_device], x_t=self.x_t[on_device], step=self.step[rows])

    def transition_kl(self, x0: Tensor, eps: Tensor) -> KL:
        """All of it is an error of the probabilities: states have no variance."""
        nats = per_example(self.process.transition_kl(self, x0)).to(x0)
        return KL(nats, torch.zeros_like(nats))

    def nll(self, x0: Tensor) -> Tensor:
        """-log p(x_0|x_1) in nats at t = 1, [B]."""
        return per_example(self.process.decoder_nll(self, x0)).to(x0)

    def draw(self, z: Tensor) -> Tensor:
        below = self.process.reverse(self).cumsum(-1)[..., :-1]
        return (ndtr(z.double())[..., None] > below).sum(-1)

    def x0_hat(self) -> Tensor:
        K = self.process.levels
        values = values_of(torch.arange(K, device=self.x_t.device), K)
        return (self.process.x0_probabilities(self) @ values).float()

    def x0_error(self, x0: Tensor, eps: Tensor) -> Tensor:
        return x0 - self.x0_hat().to(x0)

    def out_of_range(self) -> Tensor:
        return torch.zeros(len(self.x_t), device=self.x_t.device)

    def guided(self, unknown: StatesReading, scale: float) -> StatesReading:
        """In log p(x_0|x_t), normalised again: p(x_0|x_t,label)^scale p(x_0|x_t)^(1 - scale) of each dimension. What x_t itself says
        of x_0 is in both and counts once."""
        impossible = self.log_p == -torch.inf  # by x_t, so for both
        moved = unknown.log_p + scale * (self.log_p - unknown.log_p)
        return replace(self, log_p=torch.log_softmax(moved.masked_fill(impossible, -torch.inf), -1))

    def clipped(self) -> StatesReading:
        raise TypeError("probabilities of states have no range to clip to")

    def with_variance(self, variance: Variance) -> StatesReading:
        raise TypeError("a step between states has no variance")


class UniformStates(States):
    """Noise puts a dimension in any of the K states alike: q(x_t|x_0) = abar [x_t = x_0] + (1 - abar) / K."""

    def marginal(self, x0: Tensor, level: Level) -> Tensor:
        return self._mixed(self._one_hot(states_of(x0, self.levels)), abar(level, x0), noise_share(level, x0))

    def step(self, x_s: Tensor, step: Step) -> Tensor:
        return self._mixed(self._one_hot(x_s), *self._step(step, x_s))

    def posterior(self, x0: Tensor, x_t: Tensor, step: Step) -> Tensor:
        own = self._one_hot(states_of(x0, self.levels))
        return self._likelihood(x_t, step) * self._carried_back(own, x_t, step)

    def prior_kl(self, x0: Tensor, level: Level) -> Tensor:
        kept = torch.sigmoid(level.log_snr)
        hit, miss = kept + (1 - kept) / self.levels, (1 - kept) / self.levels
        # q log(q/p) - q + p >= 0, of p/q = exp(k): small, and nothing cancels
        nats = hit * expm1_minus(-torch.log1p((self.levels - 1) * kept)) + (self.levels - 1) * miss * expm1_minus(
            -torch.log1p(-kept)
        )
        return (nats * x0[0].numel()).to(x0.device, x0.dtype)

    def prior_sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randint(0, self.levels, shape, generator=generator)

    def noise_state(self, share: Tensor) -> Tensor:
        return (share * self.levels).long().clamp(max=self.levels - 1)

    def evidence(self, x_t: Tensor, level: Level) -> Tensor:
        return torch.log(self._mixed(self._one_hot(x_t), abar(level, x_t), noise_share(level, x_t)))

    def transition_kl(self, reading: StatesReading, x0: Tensor) -> Tensor:
        own = self._one_hot(states_of(x0, self.levels))
        q = self._carried_back(own, reading.x_t, reading.step)
        gap = self._carried_back(reading.log_p.exp() - own, reading.x_t, reading.step)  # p - q, both linear in p(x_0)
        posterior = self._likelihood(reading.x_t, reading.step) * q
        return (posterior * expm1_minus(torch.log1p(gap / q))).sum(-1)

    def decoder_nll(self, reading: StatesReading, x0: Tensor) -> Tensor:
        return -reading.log_p.gather(-1, states_of(x0, self.levels)[..., None])[..., 0]

    def reverse(self, reading: StatesReading) -> Tensor:
        return self._likelihood(reading.x_t, reading.step) * self._carried_back(
            reading.log_p.exp(), reading.x_t, reading.step
        )

    def x0_probabilities(self, reading: StatesReading) -> Tensor:
        return reading.log_p.exp()

    def _one_hot(self, states: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(states, self.levels).double()

    def _mixed(self, p: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
        return kept[..., None] * p + noise[..., None] / self.levels

    def _step(self, step: Step, like: Tensor) -> tuple[Tensor, Tensor]:
        """(abar_t / abar_s, 1 - that)."""
        changed = beside(torch.exp(step.log_beta), like)
        return 1 - changed, changed

    def _likelihood(self, x_t: Tensor, step: Step) -> Tensor:
        """q(x_t|x_s) as a function of x_s."""
        return self._mixed(self._one_hot(x_t), *self._step(step, x_t))

    def _carried_back(self, p: Tensor, x_t: Tensor, step: Step) -> Tensor:
        """sum over x_0 of q(x_s|x_0) p(x_0) / q(x_t|x_0): times q(x_t|x_s), the step back from p(x_0|x_t)."""
        weighed = p / self._mixed(self._one_hot(x_t), abar(step.t, x_t), noise_share(step.t, x_t))
        return self._mixed(weighed, abar(step.s, x_t), noise_share(step.s, x_t) * weighed.sum(-1))
