"""MNIST with one bit a pixel."""

from __future__ import annotations

from ._binarised import Binarised
from .mnist import Mnist


class BinarisedMnist(Binarised):
    """The splits of data=mnist, binarised as data._binarised says."""

    def __init__(
        self,
        *,
        method: str,
        threshold: float,
        draw_seed: int,
        root: str | None,
        download: bool,
        url: str,
        limit: int | None,
    ) -> None:
        grey = Mnist(root=root, download=download, url=url, limit=None)
        super().__init__(grey, method=method, threshold=threshold, draw_seed=draw_seed, limit=limit)
