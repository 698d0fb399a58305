"""An estimator of the bound is a design: which (example, t) pairs are evaluated, and with what weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor

from ..errors import ConfigError, check_seed

if TYPE_CHECKING:  # an estimate holds its design
    from .estimate import Estimate


class Plan(NamedTuple):
    """Network evaluations, one row each; int64 / float64 [R] on the CPU, example by example, draw by draw.

    Every example has the same number of rows, and its rows depend on its own id alone. For every example the weighted
    sum of its rows' terms is an unbiased estimate of its sum over t = 1..T (Horvitz-Thompson), so the per-t rows of the
    ledger are unbiased as well.
    """

    example: Tensor  # position among the planned examples, 0..N-1
    t: Tensor
    draw: Tensor
    weight: Tensor


class Design(ABC):
    """`examples`: how many of the split are used (None = all); `draws`: independent repetitions for each example;
    `target_se`: go on until the bound's standard error (in its unit per dimension) is this small, `examples` being the
    most that are used; `clip_x0`: see Prediction.clip; `seed` keys the noise.
    """

    def __init__(
        self, examples: int | None, draws: int, target_se: float | None, clip_x0: bool, seed: int, batch_size: int
    ) -> None:
        for name, value in (("examples", examples), ("draws", draws), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ConfigError(
                    f"bound.{name}={value} must be at least 1{' or null (all of them)' if name == 'examples' else ''}."
                )
        if target_se is not None and not target_se > 0:
            raise ConfigError(
                f"bound.target_se={target_se} must be a positive standard error, or null to use the whole budget."
            )
        check_seed("bound.seed", seed)
        self.examples, self.draws, self.target_se = examples, draws, target_se
        self.clip_x0, self.seed, self.batch_size = clip_x0, seed, batch_size

    @abstractmethod
    def plan(self, index: Tensor, T: int, first_draw: int = 0) -> Plan:
        """Rows for examples whose fixed ids are `index` (int64 [N]) on a chain of T steps, for `draws` draws counted
        from `first_draw`."""

    def rows(self, T: int) -> int:
        """Rows of one example."""
        return len(self.plan(torch.zeros(1, dtype=torch.int64), T).t)

    @property
    def pilot(self) -> Design | None:
        """What this design wants to see of the model, on other examples, before it plans; None: nothing."""
        return None

    def learned(self, pilot: Estimate) -> Self:
        """This design, informed by its pilot's estimate."""
        return self

    def state(self) -> dict[str, Any]:
        """What was learned, as JSON: an interrupted evaluation must go on with the very same plan."""
        return {}

    def restored(self, state: dict[str, Any]) -> Self:
        """This design with a saved `state`."""
        return self


def pairs(examples: int, draws: int, first_draw: int) -> tuple[Tensor, Tensor]:
    """(example, draw) of every example and draw, int64 [examples * draws], in the order of a plan."""
    draw = torch.arange(first_draw, first_draw + draws)
    return torch.arange(examples).repeat_interleave(draws), draw.repeat(examples)
