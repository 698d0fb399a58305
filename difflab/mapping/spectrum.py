"""Which frequencies of the data the noise drowns, and at which level: noise is white, pictures are not.

With S the power of a DCT coefficient of x_0, that of x_t is alpha^2 S + sigma^2 (x_0 and the noise are independent), so a
frequency has SNR_t S left, and drowns (SNR 1) where log SNR_t = -log S.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bound.bands import BANDS, Bands


@dataclass(frozen=True)
class Spectrum:
    """Mean power of one DCT coefficient in each band, float64 [BANDS], over examples (`se`: its standard error); NaN where a
    band is empty. `coefficients` int64 [BANDS]: how many the band has, channels included: by Parseval
    sum(coefficients * power) is E ||x||^2."""

    coefficients: np.ndarray
    power: np.ndarray
    se: np.ndarray


def centred(x: Tensor) -> Tensor:
    """x [N, ...] about its mean picture, so scaled that mean squares estimate the variance."""
    return (x - x.mean(0)) * math.sqrt(len(x) / max(len(x) - 1, 1))


def spectrum(x: Tensor) -> Spectrum:
    """Of pictures x [N, C, H, W]."""
    bands = Bands(*x.shape[2:])
    coefficients = bands.coefficients * x.shape[1]
    energy = torch.cat([bands.energy(part.double()) for part in x.split(256)])
    with np.errstate(invalid="ignore", divide="ignore"):
        each = energy.numpy() / coefficients.numpy()
    error = each.std(axis=0, ddof=1) / math.sqrt(len(each)) if len(each) > 1 else np.full(BANDS, math.nan)
    return Spectrum(coefficients.numpy(), each.mean(axis=0), error)


def drowned(power: np.ndarray, log_snr: np.ndarray) -> np.ndarray:
    """The t at which the signal alpha^2 S has fallen to the noise sigma^2, float64 like `power`: between two levels of the
    chain (log_snr [T + 1], falling, slot 0 = inf) by linear interpolation of log SNR. 1 where that is the case from the
    first level on; NaN where it never is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = -np.log(power)
    levels, t = log_snr[1:], np.arange(1, len(log_snr), dtype=float)
    levels = np.where(np.isneginf(levels), np.finfo(float).min, levels)
    crossing = np.interp(-wanted, -levels, t)
    return np.where(np.isfinite(power) & (wanted >= levels[-1]), crossing, math.nan)
