"""A diffusion transformer (Peebles & Xie 2023): timm's attention and perceptron, conditioned by adaLN-zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ._features import Conditioning, Fourier, crop, float32, pad, working_dtype
from .base import Model, check, check_count, check_fraction, check_pictures

if TYPE_CHECKING:
    from timm.layers.attention import Attention
    from timm.layers.mlp import Mlp


class DiT(Model):
    """Tokens of `patch` x `patch` pixels with learned positions; `depth` blocks of `width`, gated by the noise level.

    Sizes that the patches do not divide are padded inside and cropped at the end.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int | None,
        heads: int,
        *,
        patch: int,
        width: int,
        depth: int,
        attention_heads: int,
        mlp_ratio: float,
        embedding: int,
        dropout: float,
        fourier_octaves: Sequence[int] | None,
        fourier_damping: bool,
        num_classes: int | None,
        gradient_checkpointing: bool,
    ) -> None:
        check_pictures("dit_small", shape)
        for key, value in {"patch": patch, "width": width, "depth": depth, "attention_heads": attention_heads}.items():
            check_count(key, value)
        check(
            width % attention_heads == 0,
            f"model.attention_heads={attention_heads} must divide model.width={width}; take a divisor.",
        )
        check(mlp_ratio > 0, f"model.mlp_ratio={mlp_ratio} must be positive; 4.0 is usual.")
        check_fraction("dropout", dropout)
        check(
            patch <= min(shape[1:]),
            f"model.patch={patch} must not exceed the picture's {shape[1]} x {shape[2]}; take a smaller one.",
        )
        super().__init__(shape, heads)
        # here, because importing timm takes seconds and no other model needs it
        from timm.layers.attention import Attention
        from timm.layers.mlp import Mlp
        from timm.layers.patch_embed import PatchEmbed

        self.patch, self.gradient_checkpointing = patch, gradient_checkpointing
        self.fourier = Fourier(levels, fourier_octaves, fourier_damping)
        self.conditioning = Conditioning(embedding, num_classes)
        size = (shape[1] + -shape[1] % patch, shape[2] + -shape[2] % patch)
        self.stem = PatchEmbed(size, patch, in_chans=shape[0] * self.fourier.channels, embed_dim=width)
        self.position = nn.Parameter(0.02 * torch.randn(1, self.stem.num_patches or 0, width))
        self.blocks = nn.ModuleList(
            _Block(
                Attention(width, attention_heads, qkv_bias=True, proj_drop=dropout),
                Mlp(width, round(mlp_ratio * width), drop=dropout),
                width,
                embedding,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.level = nn.Linear(embedding, 2 * width)
        self.out = _zero(nn.Linear(width, self.outputs * patch**2))

    def forward(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        embedding = self.conditioning(log_snr, cond)
        with float32(x_t):
            padded = pad(self.fourier(x_t, log_snr), self.patch)
            x = self.stem(padded) + self.position
        x = x.to(working_dtype(x))
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, embedding, use_reentrant=False)
            else:
                x = block(x, embedding)
        with float32(x):
            scale, shift = self.level(embedding)[:, None].chunk(2, dim=-1)
            patches = self.out(torch.addcmul(shift, self.norm(x.float()), 1 + scale))
        rows = padded.shape[-2] // self.patch
        raw = rearrange(patches, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=self.patch, q=self.patch)
        return crop(raw, x_t)


class _Block(nn.Module):
    """x + gate f(scale norm(x) + shift) for attention, then perceptron; all from the noise level, gates 0 at first."""

    def __init__(self, attention: Attention, mlp: Mlp, width: int, embedding: int) -> None:
        super().__init__()
        self.attention, self.mlp = attention, mlp
        self.level = _zero(nn.Linear(embedding, 6 * width))
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        # the fused backward is slow on a CPU; timm calls the switch final only for its scripted models
        self.attention.fused_attn = x.is_cuda  # pyright: ignore[reportAttributeAccessIssue]
        a, b, gate, c, d, gate_mlp = self.level(embedding)[:, None].chunk(6, dim=-1)
        x = torch.addcmul(x, gate, self.attention(torch.addcmul(b, self.norm_attention(x), 1 + a)))
        return torch.addcmul(x, gate_mlp, self.mlp(torch.addcmul(d, self.norm_mlp(x), 1 + c)))


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
