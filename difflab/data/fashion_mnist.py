"""Fashion-MNIST: 70,000 pictures of clothes, 28 x 28 pixels on 256 levels."""

from __future__ import annotations

from ._mnist_like import MnistLike


class FashionMnist(MnistLike):
    """Splits 55,000 / 5,000 / 10,000. Source: Xiao, Rasul & Vollgraf (2017), arXiv 1708.07747."""

    def __init__(self, *, root: str | None, download: bool, url: str, limit: int | None) -> None:
        super().__init__(
            folders=("FashionMNIST", "fashion-mnist", "fashion_mnist"),
            sha256=(
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
            root=root, download=download, url=url, limit=limit,
        )  # fmt: skip

    @property
    def source(self) -> str:
        return "Fashion-MNIST, Xiao, Rasul & Vollgraf 2017, MIT licence."
