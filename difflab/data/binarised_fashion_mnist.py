"""Fashion-MNIST with one bit a pixel."""

from __future__ import annotations

from ._binarised import Binarised
from .fashion_mnist import FashionMnist


class BinarisedFashionMnist(Binarised):
    """The splits of data=fashion_mnist, binarised as data._binarised says."""

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
        grey = FashionMnist(root=root, download=download, url=url, limit=None)
        super().__init__(grey, method=method, threshold=threshold, draw_seed=draw_seed, limit=limit)
