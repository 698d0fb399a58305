"""The values themselves: for vectors, and where nothing is known of the data."""

from __future__ import annotations

import hashlib

from torch import Tensor

from ..data.base import Data
from .base import Features


class Pixels(Features):
    key = "frechet_pixels"
    title = "Frechet distance of the values themselves"

    def __init__(self, data: Data) -> None:
        super().__init__(data)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"pixels {self.data.shape} {self.data.levels}".encode()).hexdigest()

    def describe(self) -> str:
        return f"the {self.data.dims:,} values themselves, on the scale of [-1, 1] where they have levels"

    def reduce(self, x0: Tensor) -> Tensor:
        return x0.flatten(1)
