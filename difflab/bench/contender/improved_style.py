"""Improved-diffusion-style: that code is on no package index, so this is a network of its kind, written anew from the
papers (Ho et al. 2020, appendix B; Nichol & Dhariwal 2021, section 2), between the loops of its kind (peer.py)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .peer import Peer

WIDTHS = (32, 64, 128)
EMBEDDING = 4 * WIDTHS[0]
HEADS = 4


class ImprovedStyle(Peer):
    def build(self) -> nn.Module:
        return UNet(self.shape[0])


class Norm(nn.GroupNorm):
    """32 groups, computed in float32 whatever comes in."""

    def __init__(self, channels: int) -> None:
        super().__init__(32, channels)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.float()).type(input.dtype)


class Residual(nn.Module):
    """Norm, SiLU, convolution, twice; the embedding scales and shifts the second norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(Norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.level = nn.Sequential(nn.SiLU(), nn.Linear(EMBEDDING, 2 * outputs))
        self.norm = Norm(outputs)
        self.second = nn.Sequential(nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.level(embedding)[:, :, None, None].chunk(2, dim=1)
        return self.shortcut(x) + self.second(self.norm(self.first(x)) * (1 + scale) + shift)


class Attention(nn.Module):
    """All positions attend to all, in HEADS heads; the softmax in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.qkv, self.out = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        flat = x.reshape(batch, channels, -1)
        qkv = self.qkv(self.norm(flat)).reshape(batch * HEADS, 3 * channels // HEADS, -1)
        q, k, v = qkv.chunk(3, dim=1)
        scale = (channels // HEADS) ** -0.25
        weight = torch.softmax(torch.einsum("bct,bcs->bts", q * scale, k * scale).float(), dim=-1).type(q.dtype)
        h = torch.einsum("bts,bcs->bct", weight, v).reshape(batch, channels, -1)
        return (flat + self.out(h)).reshape(x.shape)


class UNet(nn.Module):
    """One residual block per level down and two up, every map handed across, attention in the middle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(WIDTHS[0], EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.stem = nn.Conv2d(channels, WIDTHS[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        now, kept = WIDTHS[0], [WIDTHS[0]]
        for level, width in enumerate(WIDTHS):
            if level:
                self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                kept.append(now)
            self.down.append(Residual(now, width))
            kept.append(now := width)
        self.middle = nn.ModuleList([Residual(now, now), Attention(now), Residual(now, now)])
        for level, width in reversed(list(enumerate(WIDTHS))):
            for _ in range(2):
                self.up.append(Residual(now + kept.pop(), width))
                now = width
            if level:
                self.up.append(nn.Conv2d(now, now, 3, padding=1))
        self.out = nn.Sequential(Norm(now), nn.SiLU(), nn.Conv2d(now, 2 * channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.embed(waves(t, WIDTHS[0]))
        h = self.stem(x)
        kept = [h]
        for part in self.down:
            h = part(h, embedding) if isinstance(part, Residual) else part(h)
            kept.append(h)
        first, attention, last = self.middle
        h = last(attention(first(h, embedding)), embedding)
        for part in self.up:
            if isinstance(part, Residual):
                h = part(torch.cat([h, kept.pop()], dim=1), embedding)
            else:
                h = part(F.interpolate(h, scale_factor=2, mode="nearest"))
        return self.out(h)


def waves(t: Tensor, width: int) -> Tensor:
    """Cosines and sines of t at `width` / 2 frequencies from 1 down to 1 / 10,000, [B, width]."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
