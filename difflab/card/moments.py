"""One pass over a split: means, deviations, grey levels, power spectrum, covariance. A shift between splits shows in them.

On the scale the model sees ([-1, 1] for grey levels, the data's own for vectors), in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_DIMS = 1024  # of a covariance


@dataclass(frozen=True)
class Moments:
    """mean, std: of each value, the data's shape. levels: int64 [levels], how often each grey level occurs (None:
    continuous). power: [H, W] of `spectrum` (None: no pictures). covariance: [D, D] (None: more than MAX_DIMS values)."""

    examples: int
    mean: Tensor
    std: Tensor
    levels: Tensor | None
    power: Tensor | None
    covariance: Tensor | None

    @property
    def variance(self) -> float:
        """Mean over the values of an example."""
        return float(self.std.square().mean())


def moments(
    parts: Iterable[Tensor], shape: tuple[int, ...], levels: int | None, to_unit: Callable[[Tensor], Tensor]
) -> Moments:
    """Of the examples that come in `parts`."""
    dims, count = math.prod(shape), 0
    total, squares = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    grey = None if levels is None else torch.zeros(levels, dtype=torch.int64)
    power = torch.zeros(shape[1:], dtype=torch.float64) if len(shape) == 3 else None
    products = torch.zeros(dims, dims, dtype=torch.float64) if dims <= MAX_DIMS else None
    for part in parts:
        x = to_unit(part).double()
        count += len(x)
        total += x.sum(0)
        squares += x.square().sum(0)
        if grey is not None:
            grey += torch.bincount(part.flatten().long(), minlength=len(grey))
        if power is not None:
            power += torch.fft.fft2(x, norm="ortho").abs().square().mean(1).sum(0)
        if products is not None:
            flat = x.flatten(1)
            products.addmm_(flat.T, flat)
    mean = total / count
    if power is not None:  # of the differences to the mean picture: E|F|^2 - |E F|^2
        power = (power / count - torch.fft.fft2(mean, norm="ortho").abs().square().mean(0)).clamp(min=0)
    if products is not None:
        products = products / count - torch.outer(mean.flatten(), mean.flatten())
    return Moments(count, mean, (squares / count - mean.square()).clamp(min=0).sqrt(), grey, power, products)


def rings(power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(cycles per pixel, mean power, number of frequencies) of each ring of a spectrum [H, W]; rings are 1/max(H, W) wide.

    White noise of variance v has power v in every ring. Parseval: sum of power x number, over H W, is the mean variance.
    """
    height, width = power.shape
    side = max(height, width)
    y, x = torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.fftfreq(width, dtype=torch.float64)
    ring = (torch.hypot(y[:, None], x) * side).round().long().flatten()
    number = torch.bincount(ring)
    mean = torch.bincount(ring, weights=power.flatten()) / number.clamp(min=1)
    return (torch.arange(len(number)) / side)[number > 0], mean[number > 0], number[number > 0]


def along(directions: Tensor, covariance: Tensor) -> Tensor:
    """Variance of a split along the columns of `directions`, [D]: the training set's principal ones, for all splits alike
    (each split's own would differ for its size alone)."""
    return (directions * (covariance @ directions)).sum(0)


def principal(covariance: Tensor) -> Tensor:
    """Orthonormal columns, from the largest variance to the smallest."""
    return torch.linalg.eigh(covariance)[1].flip(1)


def distance(a: Tensor, b: Tensor) -> float:
    """Total variation between two histograms: the share of one that would have to move."""
    return float((a / a.sum() - b / b.sum()).abs().sum() / 2)
