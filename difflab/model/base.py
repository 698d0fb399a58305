"""What every network promises; which quantity it predicts is the parameterization's affair."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..errors import ConfigError, NotDefined


class Model(nn.Module, ABC):
    """A network of the noised data and its noise level.

    It sees log SNR and never t, so a respaced chain or another schedule needs no wrapper. Every variant starts at
    exactly zero output (zero-initialised last layer), and its first and last layers compute in float32 even under
    autocast: near t = 1 the noise is smaller than bfloat16's rounding of x_t.

    shape: of one example, (C, H, W) or (D,).   heads: outputs per channel beside y, 0 or 1 (the variance's).
    """

    def __init__(self, shape: tuple[int, ...], heads: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.outputs = shape[0] * (1 + heads)

    @abstractmethod
    def forward(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_t float32 [B, *shape], log_snr float32 [B], cond int64 [B] or None -> raw float32 [B, outputs, ...].

        The first C channels are y, the others the variance head. Labels are ignored by a model without classes
        (model.num_classes=null); a model with classes reads -1 (data.base.UNKNOWN) and None as "label unknown".
        """


def check(ok: bool, sentence: str) -> None:
    """Raise ConfigError(sentence) unless ok."""
    if not ok:
        raise ConfigError(sentence)


def check_count(key: str, value: object, smallest: int = 1) -> None:
    """`value` is an integer of at least `smallest`."""
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= smallest
    check(ok, f"model.{key}={value} must be an integer of at least {smallest}; see conf/model/ for a value that works.")


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """`value` is one of `choices`."""
    check(value in choices, f"model.{key}={value} must be one of {', '.join(choices)}.")


def check_fraction(key: str, value: float) -> None:
    """`value` is a probability below one."""
    ok = math.isfinite(value) and 0 <= value < 1
    check(ok, f"model.{key}={value} must be a number in [0, 1); set model.{key}=0.0 to switch it off.")


def check_pictures(model: str, shape: tuple[int, ...]) -> None:
    """`shape` is that of a picture."""
    sentence = f"model={model} takes pictures [C, H, W], and this data has shape {list(shape)}; choose model=mlp."
    if len(shape) != 3:
        raise NotDefined(sentence)


def check_vectors(model: str, shape: tuple[int, ...]) -> None:
    """`shape` is that of a vector."""
    if len(shape) != 1:
        raise NotDefined(
            f"model={model} takes vectors [D], and this data has shape {list(shape)}; choose model=unet_small."
        )
