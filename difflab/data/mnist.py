"""MNIST: 70,000 handwritten digits of 28 x 28 pixels on 256 levels."""

from __future__ import annotations

from ._mnist_like import MnistLike


class Mnist(MnistLike):
    """Splits 55,000 / 5,000 / 10,000. Source: LeCun, Cortes & Burges (1998)."""

    def __init__(self, *, root: str | None, download: bool, url: str, limit: int | None) -> None:
        super().__init__(
            folders=("MNIST", "mnist"),
            sha256=(
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
            root=root, download=download, url=url, limit=limit,
        )  # fmt: skip

    @property
    def source(self) -> str:
        return "MNIST, LeCun, Cortes & Burges 1998."
