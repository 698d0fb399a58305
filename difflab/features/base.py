"""A feature network: examples -> vectors in which sets of them are compared. Its distance is called by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..data.base import Data
from ..errors import NotDefined

BATCH = 500  # examples that are reduced at a time


class Features(ABC):
    """key: what a Frechet distance between its vectors is called in files. title: the same for people. unit: what `prepare`
    counts. Raises NotDefined for data that it cannot read; what it must learn or load is `prepare`'s."""

    key: str
    title: str
    unit: str = "step"

    def __init__(self, data: Data) -> None:
        if not data.metric:
            raise NotDefined(
                "features: these data are symbols, whose numbers are no magnitudes, so no distance between sets of them is defined; give "
                "data of pictures or vectors."
            )
        self.data = data

    def prepare(self, device: torch.device, on_batch: Callable[[int, int], None]) -> None:
        """Become ready to be called on a device, telling on_batch(done, total); ConfigError if something is missing."""
        self.device = device

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What tells it from every other one (a sha256), once it is prepared: distances of two are not comparable."""

    @property
    def facts(self) -> dict[str, Any]:
        """What a result says of it, for files and people."""
        return {}

    @abstractmethod
    def describe(self) -> str:
        """What it is, in half a line."""

    @abstractmethod
    def reduce(self, x0: Tensor) -> Tensor:
        """float32 [B, d] of x0 [B, ...] on its device, on the scale of Data.to_unit."""

    @torch.no_grad()
    def __call__(self, x0: Tensor) -> Tensor:
        """float32 [N, d] on the CPU, a few examples at a time."""
        return torch.cat([self.reduce(part.to(self.device)).float().cpu() for part in x0.split(BATCH)])
