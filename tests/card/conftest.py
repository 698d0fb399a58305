"""Small data sets whose copies and shifts are known, because they were planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from difflab.card.collect import Material, collect
from difflab.data.base import Data, Split


class Planted(Data):
    @property
    def source(self) -> str:
        return "Made <up> for a test | nowhere else."

    def floors(self) -> dict[str, float]:
        return {"uniform": 8.0}

    def show(self, x0: Tensor, path: Path, columns: int | None = None) -> Path:
        return path


def planted(
    levels: int | None = 256, labels: dict[str, Tensor] | None = None, limit: int | None = None, **x: Tensor
) -> Planted:
    """x: train, val, test."""
    splits, start = {}, 0
    for name, values in x.items():
        label = (labels or {}).get(name, torch.zeros(len(values), dtype=torch.int64))
        splits[name] = Split(name, values, label, torch.arange(start, start + len(values)))
        start += len(values)
    return Planted(tuple(splits["train"].x.shape[1:]), levels, limit=limit, **splits)


def noise(count: int, seed: int, shape: tuple[int, ...] = (1, 6, 6)) -> Tensor:
    """uint8 pictures that have nothing in common."""
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 256, (count, *shape), dtype=np.uint8))


def draws(count: int, seed: int, dims: int = 3) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((count, dims))).float()


@pytest.fixture
def inspect() -> Callable[..., Material]:
    def inspect(data: Data, near: float = 2.0, examples: int | None = None) -> Material:
        return collect(data, "planted", near, examples, lambda done, total: None)

    return inspect
