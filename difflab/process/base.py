"""What a forward process is: how clean data turns into the known distribution, in closed form at every level."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..gaussian import Gaussian
from ..schedule.base import Level, Step


class Process(ABC):
    """q(x_t|x_0), q(x_t|x_s), q(x_s|x_t,x_0) and the prior p(x_T)."""

    @abstractmethod
    def marginal(self, x0: Tensor, level: Level) -> Gaussian:
        """q(x_t|x_0)."""

    @abstractmethod
    def noised(self, x0: Tensor, level: Level, eps: Tensor) -> Tensor:
        """x_t drawn from q(x_t|x_0) with the unit noise `eps` (same shape as x0)."""

    @abstractmethod
    def step(self, x_s: Tensor, step: Step) -> Gaussian:
        """q(x_t|x_s), one step of the Markov chain."""

    @abstractmethod
    def posterior(self, x0: Tensor, x_t: Tensor, step: Step) -> Gaussian:
        """q(x_s|x_t,x_0)."""

    @abstractmethod
    def prior_kl(self, x0: Tensor, level: Level) -> Tensor:
        """L_T = KL(q(x_T|x_0) || p(x_T)) in nats, [B]."""

    @abstractmethod
    def prior_sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """x_T ~ p(x_T), float32 on the CPU, so that it is the same whatever device samples from it."""
