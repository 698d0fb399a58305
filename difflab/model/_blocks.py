"""The parts of a U-Net, all called as part(x [B, C, H, W], embedding [B, E]).

Everything keeps channels_last: no part copies a feature map into another layout.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

VECTOR = 16  # channels: bfloat16 numbers that a CPU's kernel widens at once


class Norm(nn.GroupNorm):
    """Group normalisation in the input's type; moments, weight and bias in float32.

    On a CPU bfloat16 is 1.6 times faster than a detour over float32 if a group has channels enough to fill a vector, and
    2 to 4 times slower if not ([128, 64, 8, 8], channels_last, 2 and 8 groups).
    """

    def forward(self, input: Tensor) -> Tensor:
        x = input if input.is_cuda or self.num_channels >= VECTOR * self.num_groups else input.float()
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps).to(input.dtype)


Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def zero(layer: Layer) -> Layer:
    """The layer, starting at zero output."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(NamedTuple):
    """What all residual blocks of a network share."""

    embedding: int
    groups: int
    dropout: float
    film: bool


class ResBlock(nn.Module):
    """x + conv(norm(conv(norm(x)))), told the noise level in between: added (DDPM) or as scale and shift (film)."""

    def __init__(self, inputs: int, outputs: int, block: Block) -> None:
        super().__init__()
        embedding, groups, dropout, film = block
        self.film = film
        self.norm_in = Norm(groups, inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.level = nn.Linear(embedding, 2 * outputs if film else outputs)
        self.norm_out = Norm(groups, outputs, affine=not film)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        level = self.level(embedding)[:, :, None, None]
        if self.film:
            scale, shift = level.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm_out(h), 1 + scale)  # one pass over the map
        else:
            h = self.norm_out(h + level)
        return self.shortcut(x) + self.conv_out(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """x + attention over all positions. Few wide heads: the softmax, not the products, is what costs."""

    def __init__(self, channels: int, groups: int, head_dim: int | None) -> None:
        super().__init__()
        self.head_count = channels // (head_dim or channels)
        self.norm = Norm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        # [B, C, H, W] in channels_last lies in memory as [B, H W, C]: the rearrangements below are views
        qkv = self.qkv(self.norm(x))
        q, k, v = rearrange(qkv, "b (three n d) h w -> three b n (h w) d", three=3, n=self.head_count)
        h = rearrange(attend(q, k, v), "b n (h w) d -> b (n d) h w", h=x.shape[2])
        return x + self.out(h)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for [..., N, d].

    The fused kernel on a GPU only: its backward on a CPU is slower, 2-4 times in bfloat16 ([128, 1, 16..196, 64..128]).
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v)
    return torch.softmax(q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2), dim=-1) @ v


class Stage(nn.Module):
    """`count` residual blocks, and attention after the first if it `attends`: what a checkpoint recomputes at once."""

    def __init__(
        self,
        inputs: int,
        width: int,
        block: Block,
        count: int,
        attends: bool,
        head_dim: int | None,
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.first = ResBlock(inputs, width, block)
        self.attention = Attention(width, block.groups, head_dim) if attends else nn.Identity()
        self.rest = nn.ModuleList(ResBlock(width, width, block) for _ in range(count - 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(self._run, x, embedding, use_reentrant=False)  # restores dropout's generator too
        return self._run(x, embedding)

    def _run(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.attention(self.first(x, embedding))
        for block in self.rest:
            x = block(x, embedding)
        return x


class Down(nn.Module):
    """Half the size: a strided convolution, or the mean of 2 x 2."""

    def __init__(self, channels: int, learned: bool) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if learned else nn.AvgPool2d(2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.shrink(x)


class Up(nn.Module):
    """Twice the size, nearest neighbour: before it a 1 x 1 convolution to another width, after it a 3 x 3 if learned."""

    def __init__(self, inputs: int, outputs: int, learned: bool) -> None:
        super().__init__()
        self.narrow = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.refine = nn.Conv2d(outputs, outputs, 3, padding=1) if learned else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.refine(F.interpolate(self.narrow(x), scale_factor=2.0, mode="nearest"))
