"""An estimator of the bound is a design: which (example, t) pairs are evaluated, and with what weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from ..errors import ConfigError


class Plan(NamedTuple):
    """Network evaluations, one row each; int64 / float64 [R] on the CPU.

    For every example the weighted sum of its rows' terms is an unbiased estimate of its sum over t = 1..T
    (Horvitz-Thompson), so the per-t rows of the ledger are unbiased as well.
    """

    example: Tensor  # position in the evaluated split, 0..N-1
    t: Tensor
    draw: Tensor
    weight: Tensor


class Design(ABC):
    """`examples`: how many of the split are used (None = all); `seed` keys the noise; `clip_x0`: see Prediction.clip."""

    examples: int | None
    draws: int
    clip_x0: bool
    seed: int
    batch_size: int

    @abstractmethod
    def plan(self, index: Tensor, T: int) -> Plan:
        """Rows for examples whose fixed ids are `index` (int64 [N]) on a chain of T steps."""


def check_design(examples: int | None, draws: int, batch_size: int) -> None:
    for name, value in (("examples", examples), ("draws", draws), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ConfigError(
                f"bound.{name}={value} must be at least 1{' or null (all of them)' if name == 'examples' else ''}."
            )
