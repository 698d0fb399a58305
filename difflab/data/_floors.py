"""Sanity floors: held-out code lengths of models without a network. Above them, nothing was learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMOOTHING = 0.5  # pseudo-count per level (Krichevsky-Trofimov): a level unseen in training stays possible
MAX_DIMS = 3072  # 3 x 32 x 32; a larger covariance takes minutes and more examples than such sets have
MAX_WORK = 1e11  # examples x dims^2 spent on one covariance: a few seconds
CHUNK = 4096


def histogram(train: Tensor, test: Tensor, levels: int) -> float:
    """Bits/dim of `test` (integers 0..levels-1, [N, ...]) under one smoothed histogram per pixel of `train`."""
    probability = _counts(train, levels) + SMOOTHING
    probability = probability / probability.sum(1, keepdim=True)
    return float(-(_counts(test, levels) * probability.log2()).sum() / test.numel())


def gaussian(train: Tensor, test: Tensor, *, bin_width: float = 0.0, diagonal: bool = False) -> float:
    """Nats/dim of `test` [N, ...] under one Gaussian with the mean and covariance of `train` (whitening).

    bin_width > 0: both sets carry uniform noise of that width, so the density bounds the probability of a level from
    below (Theis et al. 2016) and the figure is in nats of a bin when width = 1. The noise enters as its variance,
    width^2/12 on the diagonal: exact in the mean, without a draw. It is the ridge, too: constant pixels and fewer
    examples than dims give a covariance of full rank; without noise they give infinity. diagonal: independent
    dimensions.
    """
    train, test = train.flatten(1), test.flatten(1)
    dims = train.shape[1]
    if not diagonal:
        train, test = (part[: max(1, int(MAX_WORK / dims**2))] for part in (train, test))
    total = torch.zeros(dims, dtype=torch.float64)
    for part in train.split(CHUNK):
        total += part.double().sum(0)
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


def standard_normal(test: Tensor) -> float:
    """Nats/dim of `test` under N(0, I)."""
    return (math.log(2 * math.pi) + float(test.double().square().mean())) / 2


def _counts(x: Tensor, levels: int) -> Tensor:
    """float64 [D, levels]: how often each value occurs."""
    x = x.flatten(1)
    first = torch.arange(x.shape[1]) * levels
    counts = torch.zeros(x.shape[1] * levels, dtype=torch.int64)
    for part in x.split(CHUNK):
        counts += torch.bincount((part.long() + first).flatten(), minlength=len(counts))
    return counts.view(-1, levels).double()


def _second_moment(x: Tensor, mean: Tensor) -> Tensor:
    """float64 [D, D]: mean of (x - mean)(x - mean)', in chunks so that no float64 copy of the set is made."""
    total = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for part in x.split(CHUNK):
        centred = part.double() - mean
        total.addmm_(centred.T, centred)
    return total / len(x)
