"""What a caller of the Python API gives, as the laboratory holds it; or ConfigError, one sentence that says what to give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .data.base import UNKNOWN, Data
from .errors import ConfigError

Array = Tensor | np.ndarray
Labels = Sequence[int] | Array | int | None  # one for each example, or one for all


def examples_of(x: Array, data: Data) -> Tensor:
    """Examples as a split holds them, [N, *shape]: uint8 for data on a grid, else float32. One example may come alone."""
    try:
        given = torch.as_tensor(x).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"x is no array of numbers ({type(error).__name__}: {error}).") from error
    if tuple(given.shape) == tuple(data.shape):
        given = given[None]
    if tuple(given.shape[1:]) != tuple(data.shape) or not len(given):
        wanted = ", ".join(map(str, data.shape))
        raise ConfigError(f"x has shape {list(given.shape)}: give [N, {wanted}], or [{wanted}] for one example.")
    if given.is_complex() or (given.dtype is torch.bool and data.levels is None):
        raise ConfigError(f"x is {given.dtype}: give numbers in the data's own units.")
    if data.levels is None:
        if not bool(given.float().isfinite().all()):
            raise ConfigError("x holds numbers that are not finite.")
        return given.float()
    number = given.double()
    wrong = ~((number == number.round()) & (number >= 0) & (number <= data.levels - 1))
    if bool(wrong.any()):
        raise ConfigError(
            f"x holds {float(number[wrong][0]):g}: these data are whole numbers, the grey levels or states 0..{data.levels - 1}."
        )
    return given.to(torch.uint8)


def label_of(labels: Labels, count: int, classes: int, needed: bool = False) -> Tensor | None:
    """int64 [count]; None where none is given. classes: how many the network is told of. Not needed: it may be left out."""
    if not classes:
        if labels is not None:
            raise ConfigError("labels: this network is told none (model.num_classes=null); leave them out.")
        return None
    if labels is None:
        if needed:
            raise ConfigError(
                f"labels: this network is told each example's label; give one of 0..{classes - 1} for each, or {UNKNOWN} for unknown."
            )
        return None
    label = torch.as_tensor(labels).cpu()
    whole = not label.is_floating_point() and not label.is_complex() and label.dtype is not torch.bool
    if label.dim() == 0:
        label = label.expand(count)
    if not whole or tuple(label.shape) != (count,):
        raise ConfigError(f"labels are {label.dtype} {list(label.shape)}: give {count} whole numbers, or one for all.")
    strange = (label < UNKNOWN) | (label >= classes)
    if bool(strange.any()):
        raise ConfigError(
            f"labels hold {int(label[strange][0])}: they run from 0 to {classes - 1} ({UNKNOWN}: unknown)."
        )
    return label.long()


def steps_of(t: int | Tensor, count: int, T: int) -> Tensor:
    """int64 [count] of 1..T."""
    at = torch.as_tensor(t).cpu()
    at = at.expand(count) if at.dim() == 0 else at
    if at.is_floating_point() or tuple(at.shape) != (count,) or not bool(((at >= 1) & (at <= T)).all()):
        raise ConfigError(f"t={t}: give a whole number of 1..{T}, or one for each example.")
    return at.long()
