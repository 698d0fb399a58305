"""Diffusion between K states with uniform noise (Hoogeboom et al. 2021; Austin et al. 2021, D3PM-uniform)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import one_hot

from ._states import UniformStates


class Categorical(UniformStates):
    """The network sees one channel for each state (of vectors: K numbers for each dimension) and answers with as many logits."""

    def __init__(self, levels: int | None) -> None:
        super().__init__(levels)

    def seen_as(self, shape: tuple[int, ...], levels: int | None) -> tuple[tuple[int, ...], int | None]:
        return (shape[0] * self.levels, *shape[1:]), None

    def seen(self, x_t: Tensor) -> Tensor:
        return channels(x_t, self.levels)

    def logits(self, raw: Tensor) -> Tensor:
        return raw.unflatten(1, (-1, self.levels)).movedim(2, -1)


def channels(states: Tensor, count: int) -> Tensor:
    """Each state as `count` channels of 0 and 1, float32: [B, C, ...] -> [B, C * count, ...]."""
    return one_hot(states, count).movedim(-1, 2).flatten(1, 2).float()
