"""What enters every network: the noise level, the label, and the data at the scale of one grey level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import check, check_count

LOG_SNR_LIMIT = 30.0  # the embedding's range; a terminal SNR of zero (log SNR = -inf) stands at its end
LONGEST, SHORTEST = 120.0, 1.0  # periods in log SNR: twice the range; about the widest step of a 1000-step chain
MOST_OCTAVES = 4  # derived octaves: the finest ones, which convolutions of the raw input cannot resolve


class float32(torch.autocast):
    """Autocast off for x's device: float32 layers inside a bfloat16 region."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x.device.type, enabled=False)


def working_dtype(x: Tensor) -> torch.dtype:
    """What the layers between the first and the last compute in: autocast's type where it is on, else x's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def rows_of(cond: Tensor | None, label: nn.Embedding, log_snr: Tensor) -> Tensor:
    """The embedding's row of each label, int64 [B]: its last for -1 and None, "label unknown"."""
    cond = torch.full(log_snr.shape, -1, device=log_snr.device) if cond is None else cond
    return cond % label.num_embeddings


class Conditioning(nn.Module):
    """log_snr (and label) -> a vector [B, width], float32: sinusoids, then two layers."""

    frequencies: Tensor

    def __init__(self, width: int, num_classes: int | None) -> None:
        super().__init__()
        check(
            width >= 8 and width % 8 == 0,
            f"model.embedding={width} must be a positive multiple of 8; 256 suits most networks.",
        )
        if num_classes is not None:
            check_count("num_classes", num_classes)
        count = width // 8  # sine and cosine of each: a quarter of the width, as in DDPM
        periods = LONGEST * (SHORTEST / LONGEST) ** (torch.arange(count, dtype=torch.float64) / max(1, count - 1))
        self.register_buffer("frequencies", (2 * math.pi / periods).float(), persistent=False)
        self.hidden = nn.Linear(2 * count, width)
        self.out = nn.Linear(width, width)
        # one row more than there are classes: "label unknown"
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, width)

    def forward(self, log_snr: Tensor, cond: Tensor | None) -> Tensor:
        with float32(log_snr):
            angle = log_snr.float().clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)[:, None] * self.frequencies
            waves = torch.cat([angle.sin(), angle.cos()], dim=1)
            embedding = self.out(functional.silu(self.hidden(waves)))
            if self.label is not None:
                embedding = embedding + self.label(rows_of(cond, self.label, log_snr))
            return functional.silu(embedding)  # every user starts with it


def derived_octaves(levels: int | None) -> list[int]:
    """k up to the period of one level: 2 / 2^k <= 2 / (levels - 1); the finest MOST_OCTAVES of them."""
    if levels is None:
        return []
    finest = math.ceil(math.log2(max(1, levels - 1)))
    return list(range(max(1, finest - MOST_OCTAVES + 1), finest + 1))


class Fourier(nn.Module):
    """x_t -> x_t with sin and cos of 2^k pi x_t / alpha as extra channels, in float32.

    A network of plain pixels cannot tell apart neighbouring grey levels (VDM, section 3.4.1; 1.2 bits/dim on digits).
    `damping` multiplies octave k by exp(-(2^k pi sigma / alpha)^2 / 2): what noise leaves of that wave of the data on
    average, and the coefficient with which it enters E[x_0 | x_t] of data on a grid; without it a feature is plain
    noise as soon as sigma exceeds its period.   octaves: None = derived from `levels`, none for continuous data.
    """

    frequencies: Tensor

    def __init__(self, levels: int | None, octaves: Sequence[int] | None, damping: bool) -> None:
        super().__init__()
        octaves = derived_octaves(levels) if octaves is None else list(octaves)
        check(
            all(isinstance(k, int) and 0 <= k <= 16 for k in octaves),
            f"model.fourier_octaves={octaves} must hold integers in 0..16; null derives them from the data.",
        )
        self.damping = damping
        self.channels = 1 + 2 * len(octaves)  # per channel of x_t
        frequencies = math.pi * 2.0 ** torch.tensor(octaves, dtype=torch.float32)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C * channels, H, W]."""
        x_t = x_t.float()
        if self.channels == 1:
            return x_t
        waves = self.frequencies.view(-1, 1, 1, 1)  # [K, 1, 1, 1] against [B, 1, C, H, W]
        if not self.damping:
            angle = x_t[:, None] * waves
            features = torch.cat([angle.sin(), angle.cos()], dim=1)
        else:
            log_snr = log_snr.float().view(-1, 1, 1, 1, 1)
            alpha = torch.sigmoid(log_snr).sqrt().clamp(min=1e-2)  # where it is smaller, damping is 0
            noise = torch.exp(-log_snr.clamp(min=-LOG_SNR_LIMIT))  # (sigma / alpha)^2
            angle = x_t[:, None] / alpha * waves
            features = torch.cat([angle.sin(), angle.cos()], dim=1)
            features = features * torch.exp(-0.5 * waves.square() * noise).repeat(1, 2, 1, 1, 1)
        return torch.cat([x_t, features.flatten(1, 2)], dim=1)


def pad(features: Tensor, multiple: int) -> Tensor:
    """Zeros around [B, C, H, W] up to the next multiple, evenly, so that the picture keeps its place in the middle.

    Zeros around the features, not around x_t: they are what convolutions pad with, so that a padded border looks to the
    first layer like any border. (A pixel of 0 would be a grey, with cosines of 1.)
    """
    height, width = (-size % multiple for size in features.shape[-2:])
    if not height and not width:
        return features
    margins = (width // 2, width - width // 2, height // 2, height - height // 2)
    return functional.pad(features, margins)


def crop(padded: Tensor, like: Tensor) -> Tensor:
    """What pad() surrounded: the middle of `padded`, as large as `like`."""
    height, width = like.shape[-2:]
    top, left = (padded.shape[-2] - height) // 2, (padded.shape[-1] - width) // 2
    return padded[..., top : top + height, left : left + width]
