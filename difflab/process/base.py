"""What a forward process is: how clean data turns into the known distribution, in closed form at every level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..schedule.base import Level, Schedule, Step

if TYPE_CHECKING:  # a prediction is read from a step of a process
    from ..parameterization.base import Parameterization
    from ..prediction import Reading
    from ..variance.base import Variance


class Process(ABC):
    """q(x_t|x_0), q(x_t|x_s), q(x_s|x_t,x_0) and the prior p(x_T); and how a network sees x_t and says p(x_s|x_t).

    All noise comes as standard normal numbers, `eps` for an x_t and z for a step, of which every process makes its own: so
    noise keyed by example and t, paths of the chain and samples are the same machinery for all.

    family: parts of the run that name it in their `serves` fit this process. priced: see Diffusion.priced.
    """

    family: str
    priced: bool

    @abstractmethod
    def marginal(self, x0: Tensor, level: Level) -> Any:
        """q(x_t|x_0), a distribution of the process's own kind."""

    @abstractmethod
    def noised(self, x0: Tensor, level: Level, eps: Tensor) -> Tensor:
        """x_t drawn from q(x_t|x_0) with the unit noise `eps` (same shape as x0)."""

    @abstractmethod
    def carried(self, eps: Tensor, step: Step, z: Tensor) -> Tensor:
        """The unit noise of x_t on a path of the Markov chain q(x_t|x_s), from that of x_s and fresh z, whatever x_0 is."""

    @abstractmethod
    def step(self, x_s: Tensor, step: Step) -> Any:
        """q(x_t|x_s), one step of the Markov chain."""

    @abstractmethod
    def posterior(self, x0: Tensor, x_t: Tensor, step: Step) -> Any:
        """q(x_s|x_t,x_0)."""

    @abstractmethod
    def prior_kl(self, x0: Tensor, level: Level) -> Tensor:
        """L_T = KL(q(x_T|x_0) || p(x_T)) in nats, [B]."""

    @abstractmethod
    def prior_sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """x_T ~ p(x_T) on the CPU, so that it is the same whatever device samples from it."""

    @abstractmethod
    def check(self, schedule: Schedule) -> None:
        """NotDefined if the chain does not end where the prior is."""

    @abstractmethod
    def seen_as(self, shape: tuple[int, ...], levels: int | None) -> tuple[tuple[int, ...], int | None]:
        """(shape of what the network sees of one example, its grey levels if that is data on a grid with noise on it)."""

    @abstractmethod
    def seen(self, x_t: Tensor) -> Tensor:
        """What the network sees of x_t, float32."""

    @abstractmethod
    def visible(self, x_t: Tensor) -> Tensor:
        """x_t in the data's units, float32, for a person to look at."""

    @abstractmethod
    def read(
        self, raw: Tensor, x_t: Tensor, step: Step, parameterization: Parameterization, variance: Variance
    ) -> Reading:
        """p(x_s|x_t) from the network's output."""
