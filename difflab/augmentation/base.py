"""Another example that is as likely as one of the training split, in the belief of whoever chooses it.

Training batches alone are augmented, in the data's own stored values: never what is measured (validation, test, the fit on
training examples, pilots, floors) and not what a space learns before the chain. So a bound stays one on the data itself:
any network whatever gives a bound, and augmentation is a part of how this one was found. Whether the belief is right shows
in it. The running train/* figures are of the augmented examples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from ..errors import NotDefined


class Augmentation(ABC):
    """`numbers`: how many random numbers an example takes."""

    numbers: int

    @abstractmethod
    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        """Examples x [B, ...] as they are stored, each changed by its own numbers u in [0, 1), float32 [B, numbers] on x's
        device; of the same shape and type."""


def check_pictures(name: str, shape: tuple[int, ...]) -> None:
    """NotDefined unless `shape` has a height and a width to move in; a line of text has height 1."""
    if len(shape) != 3 or min(shape[1:]) < 2:
        raise NotDefined(
            f"augmentation={name} takes pictures [C, H, W], and this data has shape {list(shape)}; set augmentation=none."
        )
