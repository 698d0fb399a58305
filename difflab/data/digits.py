"""The UCI handwritten digits: 1,797 real pictures of 8 x 8 pixels on 17 levels, inside the package."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np
import torch

from .base import Pictures, Split


class Digits(Pictures):
    """Splits 1,257 / 180 / 360. Source: Alpaydin & Kaynak (1998), see digits_LICENSE.txt."""

    def __init__(self, *, limit: int | None) -> None:
        with (
            files("difflab.data").joinpath("digits.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as stored,
        ):
            x = torch.from_numpy(stored["x"])[:, None]
            label = torch.from_numpy(stored["label"]).long()
        # A permutation that no library can change: sorted by the hash of the example's number.
        order = sorted(range(len(x)), key=lambda i: hashlib.sha256(f"digits/{i}".encode()).digest())
        splits, start = {}, 0
        for name, size in (("train", 1257), ("val", 180), ("test", 360)):
            index = torch.tensor(order[start : start + size])
            splits[name] = Split(name, x[index], label[index], index)
            start += size
        super().__init__((1, 8, 8), 17, limit=limit, **splits)

    @property
    def source(self) -> str:
        return "UCI Optical Recognition of Handwritten Digits, Alpaydin & Kaynak 1998, CC BY 4.0, embedded."
