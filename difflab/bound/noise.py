"""Keyed noise: evaluation noise is a pure function of (seed, example, t, draw).

A counter-based generator (SplitMix64: Steele, Lea & Flood 2014) in integer tensor operations plus Box-Muller, so any two
runs are evaluated on the same noise whatever the batch size, order, device or model, and can be compared in pairs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # odd 64-bit constants as the int64 with the same bits
_MIX = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser; int64 products wrap around."""
    x = (x ^ _shift(x, 30)) * _MIX[0]
    x = (x ^ _shift(x, 27)) * _MIX[1]
    return x ^ _shift(x, 31)


def key(seed: int, *words: Tensor) -> Tensor:
    """A 64-bit key for each row: int64 [B] from the seed and int64 words [B]."""
    state = torch.full_like(words[0], seed)
    for word in words:
        state = _mix(state * _GOLDEN + word)
    return state


SPACE = -3  # the word in place of t that keys the noise a space draws z with: one draw for each example


def uniform(keys: Tensor) -> Tensor:
    """One float64 in (0, 1) for each key."""
    return (_shift(_mix(keys), 11).double() + 0.5) * 2.0**-53


def normal(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 noise [B, *shape]: one 64-bit counter hash gives a pair of normals."""
    dims = math.prod(shape)
    counter = torch.arange(1, (dims + 1) // 2 + 1, device=keys.device) * _GOLDEN
    bits = _mix(keys[:, None] + counter)
    radius = torch.sqrt(-2 * torch.log((_shift(bits, 32).double() + 0.5) * 2.0**-32))
    angle = (bits & 0xFFFFFFFF).double() * (2 * math.pi * 2.0**-32)
    pair = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)
    return pair.flatten(1)[:, :dims].float().reshape(-1, *shape)
