"""Diagonal Gaussians, their KL divergence, and the one place where units change.

Inside the package every term is in nats per example, a tensor of shape [B]; `Unit` turns it into what people read.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """N(mean, exp(log_var) I); `log_var` broadcasts against `mean` [B, ...]."""

    mean: Tensor
    log_var: Tensor


class Unit(NamedTuple):
    """What a bound is reported in: bits/dim for data on a grid (a probability mass), nats/dim for a density."""

    key: str
    label: str
    nats: float  # nats in one unit

    def per_dim(self, nats: Tensor, dims: int) -> Tensor:
        """nats per example -> this unit per data dimension: the only unit conversion of the package."""
        return nats / (dims * self.nats)


BITS = Unit("bpd", "bits/dim", math.log(2.0))
NATS = Unit("nats_per_dim", "nats/dim", 1.0)


def sent(x: Tensor, device: torch.device) -> Tensor:
    """x on the device; from the CPU to a GPU by way of pinned memory, so that neither waits for the other."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and not x.is_cuda else x.to(device)


def expand(coefficient: Tensor, like: Tensor) -> Tensor:
    """A float64 coefficient [B] cast and shaped to multiply data [B, ...]: the moment it meets data, not before."""
    return sent(coefficient, like.device).to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))


def per_example(x: Tensor) -> Tensor:
    """Sum over all but the first dimension: [B, ...] -> [B]."""
    return x.flatten(1).sum(1)


def expm1_minus(k: Tensor) -> Tensor:
    """exp(k) - 1 - k, to full relative precision for every k (near 0 the difference would cancel).

    Never negative: a Taylor series of even leading order below |k| = 0.1, the plain difference above.
    """
    series = k * k / 2 * (1 + k / 3 * (1 + k / 4 * (1 + k / 5 * (1 + k / 6 * (1 + k / 7 * (1 + k / 8))))))
    if k.dtype == torch.float64:  # eight more digits want more terms; only [B] coefficients are float64 here
        tail = 1 + k / 9 * (1 + k / 10 * (1 + k / 11 * (1 + k / 12)))
        series = k * k / 2 * (1 + k / 3 * (1 + k / 4 * (1 + k / 5 * (1 + k / 6 * (1 + k / 7 * (1 + k / 8 * tail))))))
    return torch.where(k.abs() < 0.1, series, torch.expm1(k) - k)


class KL(NamedTuple):
    """The two exact parts of a Gaussian-Gaussian KL in nats, [B] each, both >= 0; their sum is the KL."""

    mean_error: Tensor
    variance_mismatch: Tensor

    @property
    def total(self) -> Tensor:
        return self.mean_error + self.variance_mismatch


def kl(difference: Tensor, log_var_q: Tensor, log_ratio: Tensor) -> KL:
    """KL(N(m_q, v_q) || N(m_p, v_p)), diagonal, summed over dimensions.

    Takes the mean DIFFERENCE m_q - m_p [B, ...] and log_ratio = log v_p - log v_q, so that nothing cancels:
        1/2 (exp(-r) - 1 + r)  +  1/2 difference^2 / v_p          with r = log_ratio.
    `log_var_q` and `log_ratio` are [B, 1, ...] or [B, ...]; shared ones stay float64 until they meet the data.
    """
    dims = difference[0].numel()
    mismatch = expm1_minus(-log_ratio)
    mismatch = mismatch * (dims // mismatch[0].numel())  # a shared variance counts once for each dimension
    error = difference * difference * torch.exp(-log_var_q - log_ratio).to(difference)
    return KL(0.5 * per_example(error), 0.5 * per_example(mismatch).to(difference))
