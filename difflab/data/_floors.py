"""Sanity floors: held-out code lengths of models without a network. Above them, nothing was learned.

Examples come a chunk at a time, so that they need not be in memory; the figures are the same if they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .base import Stored

SMOOTHING = 0.5  # pseudo-count per level (Krichevsky-Trofimov): a level unseen in training stays possible
MAX_DIMS = 3072  # 3 x 32 x 32; a larger covariance takes minutes and more examples than such sets have
MAX_WORK = 1e11  # examples x dims^2 spent on one covariance: a few seconds
MAX_COUNTED = 100_000  # examples of a histogram: more move no digit that is printed, but each may have to be decoded
CHUNK = 4096


def histogram(train: Stored, test: Stored, levels: int) -> float:
    """Bits/dim of `test` (integers 0..levels-1, [N, ...]) under one smoothed histogram per pixel of `train`; of both, the
    first MAX_COUNTED examples."""
    train, test = train[:MAX_COUNTED], test[:MAX_COUNTED]
    probability = _counts(train, levels) + SMOOTHING
    probability = probability / probability.sum(1, keepdim=True)
    return float(-(_counts(test, levels) * probability.log2()).sum() / math.prod(test.shape))


def gaussian(train: Stored, test: Stored, *, bin_width: float = 0.0, diagonal: bool = False) -> float:
    """Nats/dim of `test` [N, ...] under one Gaussian with the mean and covariance of `train` (whitening).

    bin_width > 0: both sets carry uniform noise of that width, so the density bounds the probability of a level from
    below (Theis et al. 2016) and the figure is in nats of a bin when width = 1. The noise enters as its variance,
    width^2/12 on the diagonal: exact in the mean, without a draw. It is the ridge, too: constant pixels and fewer
    examples than dims give a covariance of full rank; without noise they give infinity. diagonal: independent
    dimensions.
    """
    dims = math.prod(train.shape[1:])
    if not diagonal:
        train, test = (part[: max(1, int(MAX_WORK / dims**2))] for part in (train, test))
    total = torch.zeros(dims, dtype=torch.float64)
    for part in train.split(CHUNK):
        total += part.flatten(1).double().sum(0)
    mean = total / len(train)
    noise = bin_width**2 / 12 * torch.eye(dims, dtype=torch.float64)
    fitted, scored = _second_moment(train, mean) + noise, _second_moment(test, mean) + noise
    if diagonal:
        fitted = fitted.diagonal().diag()
    factor, failed = torch.linalg.cholesky_ex(fitted)
    if failed or (bin_width == 0 and len(train) <= (1 if diagonal else dims)):  # rounding may hide the missing rank
        return math.inf
    log_det = 2 * factor.diagonal().log().sum()
    quadratic = (torch.cholesky_inverse(factor) * scored).sum()  # E[(x - m)' C^-1 (x - m)] = tr(C^-1 S)
    return float(math.log(2 * math.pi) + (log_det + quadratic) / dims) / 2


def standard_normal(test: Stored) -> float:
    """Nats/dim of `test` under N(0, I)."""
    squares = sum(float(part.double().square().sum()) for part in test.split(CHUNK))
    return (math.log(2 * math.pi) + squares / math.prod(test.shape)) / 2


def _counts(x: Stored, levels: int) -> Tensor:
    """float64 [D, levels]: how often each value occurs."""
    dims = math.prod(x.shape[1:])
    first = torch.arange(dims) * levels
    counts = torch.zeros(dims * levels, dtype=torch.int64)
    for part in x.split(CHUNK):
        counts += torch.bincount((part.flatten(1).long() + first).flatten(), minlength=len(counts))
    return counts.view(-1, levels).double()


def _second_moment(x: Stored, mean: Tensor) -> Tensor:
    """float64 [D, D]: mean of (x - mean)(x - mean)', in chunks so that no float64 copy of the set is made."""
    total = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for part in x.split(CHUNK):
        centred = part.flatten(1).double() - mean
        total.addmm_(centred.T, centred)
    return total / len(x)
