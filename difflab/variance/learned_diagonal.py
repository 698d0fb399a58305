"""log v = log beta_tilde + output: a free diagonal covariance, the baseline of DDPM's table 2."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError
from ..schedule.base import Step
from .base import Variance


class LearnedDiagonal(Variance):
    """The output is bounded smoothly to (-limit, limit) so that a wild step cannot make a variance of 0 or infinity."""

    heads = 1

    def __init__(self, *, limit: float) -> None:
        if not limit > 0:
            raise ConfigError(
                f"variance.limit={limit} must be positive: it bounds |log v - log beta_tilde|; 10 is a good value."
            )
        self.limit = limit

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        assert output is not None
        return self.limit * torch.tanh(output / self.limit)
