"""log v between log beta_tilde and log beta, learned (Nichol & Dhariwal 2021, eq. 15)."""

from __future__ import annotations

from torch import Tensor

from ..gaussian import expand
from ..schedule.base import Step
from .base import Variance


class LearnedRange(Variance):
    """log v = f log beta + (1 - f) log beta_tilde, f = (output + 1) / 2, not constrained to [0, 1]."""

    heads = 1

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        assert output is not None
        return (output + 1) * expand(step.log_ratio / 2, output)
