"""Binary diffusion (Sohl-Dickstein et al. 2015): bits that noise sets to a fair coin's."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import NotDefined
from ._states import UniformStates


class Binomial(UniformStates):
    """q(x_t|x_s) = Bernoulli(x_s (1 - beta) + beta / 2). The network sees bits as -1 and 1 and answers with a log odds each."""

    def __init__(self, levels: int | None) -> None:
        super().__init__(levels)
        if levels != 2:
            raise NotDefined(
                f"process=binomial is one of bits, and this data has {levels} levels; set process=categorical."
            )

    def seen_as(self, shape: tuple[int, ...], levels: int | None) -> tuple[tuple[int, ...], int | None]:
        return shape, None

    def seen(self, x_t: Tensor) -> Tensor:
        return 2 * x_t.float() - 1

    def logits(self, raw: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(raw), raw], -1)
