"""Diffusion into a mask (Austin et al. 2021, D3PM-absorbing; Shi et al. 2024, MD4): a dimension is itself or hidden."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import NotDefined
from ..schedule.base import Level, Schedule, Step
from ._states import States, StatesReading, abar, beside, noise_share, states_of
from .categorical import channels


class Absorbing(States):
    """State K is the mask: q(x_t|x_0) = abar [x_t = x_0] + (1 - abar) [x_t = K]. What is not hidden is known, so only hidden
    dimensions have terms. The prior is the mask alone: abar_T must be 0, or L_T is infinite."""

    def __init__(self, levels: int | None) -> None:
        super().__init__(levels)

    @property
    def mask(self) -> int:
        return self.levels

    def check(self, schedule: Schedule) -> None:
        if float(schedule.log_snr[-1]) != -torch.inf:
            raise NotDefined(
                "process=absorbing ends in nothing but masks, and this schedule keeps some of the data to its end, which would cost "
                "infinitely many bits; set schedule=linear_abar or schedule.zero_terminal=true."
            )

    def marginal(self, x0: Tensor, level: Level) -> Tensor:
        own = one_hot(states_of(x0, self.levels), self.levels + 1).double()
        return abar(level, x0)[..., None] * own + noise_share(level, x0)[..., None] * self._masked(own)

    def step(self, x_s: Tensor, step: Step) -> Tensor:
        own, hidden = one_hot(x_s, self.levels + 1).double(), beside(torch.exp(step.log_beta), x_s)
        return (1 - hidden)[..., None] * own + hidden[..., None] * self._masked(own)

    def posterior(self, x0: Tensor, x_t: Tensor, step: Step) -> Tensor:
        own = one_hot(states_of(x0, self.levels), self.levels + 1).double()
        return self._back(own, x_t, step)

    def prior_kl(self, x0: Tensor, level: Level) -> Tensor:
        return torch.zeros(len(x0), device=x0.device, dtype=x0.dtype)

    def prior_sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.full(shape, self.mask)

    def noise_state(self, share: Tensor) -> Tensor:
        return torch.full(share.shape, self.mask, device=share.device)

    def seen_as(self, shape: tuple[int, ...], levels: int | None) -> tuple[tuple[int, ...], int | None]:
        return (shape[0] * (self.levels + 1), *shape[1:]), None

    def seen(self, x_t: Tensor) -> Tensor:
        return channels(x_t, self.levels + 1)

    def logits(self, raw: Tensor) -> Tensor:
        return raw.unflatten(1, (-1, self.levels + 1)).movedim(2, -1)[..., : self.levels]  # x_0 is no mask

    def evidence(self, x_t: Tensor, level: Level) -> Tensor:
        return torch.zeros(
            (), dtype=torch.float64, device=x_t.device
        )  # a mask says nothing, what is shown is not asked

    def transition_kl(self, reading: StatesReading, x0: Tensor) -> Tensor:
        return self._shown(reading.step, reading.x_t) * self.decoder_nll(reading, x0)

    def decoder_nll(self, reading: StatesReading, x0: Tensor) -> Tensor:
        nats = -reading.log_p.gather(-1, states_of(x0, self.levels)[..., None])[..., 0]
        return torch.where(reading.x_t == self.mask, nats, 0.0)

    def reverse(self, reading: StatesReading) -> Tensor:
        p = torch.nn.functional.pad(reading.log_p.exp(), (0, 1))
        return self._back(p, reading.x_t, reading.step)

    def x0_probabilities(self, reading: StatesReading) -> Tensor:
        known = one_hot(reading.x_t, self.levels + 1)[..., : self.levels].double()
        return torch.where((reading.x_t == self.mask)[..., None], reading.log_p.exp(), known)

    def _shown(self, step: Step, like: Tensor) -> Tensor:
        """(abar_s - abar_t) / (1 - abar_t), the probability that a hidden dimension is shown by the step back."""
        return beside(-torch.expm1(step.s.log_var - step.t.log_var), like)

    def _back(self, p: Tensor, x_t: Tensor, step: Step) -> Tensor:
        shown = self._shown(step, x_t)[..., None]
        hidden = shown * p + (1 - shown) * self._masked(p)
        return torch.where((x_t == self.mask)[..., None], hidden, one_hot(x_t, self.levels + 1).double())

    def _masked(self, like: Tensor) -> Tensor:
        return one_hot(torch.tensor(self.mask, device=like.device), self.levels + 1).double().expand_as(like)
