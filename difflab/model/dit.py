"""A diffusion transformer (Peebles & Xie 2023): timm's attention and perceptron, conditioned by adaLN-zero.

conf/model/dit.yaml is theirs, dit_small.yaml suits a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ._blocks import zero
from ._features import Conditioning, Fourier, crop, float32, pad, working_dtype
from ._tokens import check_transformer, embed, picture
from .base import Model

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
        check_transformer(
            "dit",
            shape,
            patch=patch,
            width=width,
            depth=depth,
            attention_heads=attention_heads,
            mlp_ratio=mlp_ratio,
            dropout=dropout,
        )
        super().__init__(shape, heads)
        # here, because importing timm takes seconds and no other model needs it
        from timm.layers.attention import Attention
        from timm.layers.mlp import Mlp

        self.patch, self.gradient_checkpointing = patch, gradient_checkpointing
        self.fourier = Fourier(levels, fourier_octaves, fourier_damping)
        self.conditioning = Conditioning(embedding, num_classes)
        self.stem = embed(shape, self.fourier.channels, patch, width)
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
        self.out = zero(nn.Linear(width, self.outputs * patch**2))

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
        return crop(picture(patches, padded.shape[-2] // self.patch, self.patch), x_t)


class _Block(nn.Module):
    """x + gate f(scale norm(x) + shift) for attention, then perceptron; all from the noise level, gates 0 at first."""

    def __init__(self, attention: Attention, mlp: Mlp, width: int, embedding: int) -> None:
        super().__init__()
        self.attention, self.mlp = attention, mlp
        self.level = zero(nn.Linear(embedding, 6 * width))
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        # the fused backward is slow on a CPU; timm calls the switch final only for its scripted models
        self.attention.fused_attn = x.is_cuda  # pyright: ignore[reportAttributeAccessIssue]
        a, b, gate, c, d, gate_mlp = self.level(embedding)[:, None].chunk(6, dim=-1)
        x = torch.addcmul(x, gate, self.attention(torch.addcmul(b, self.norm_attention(x), 1 + a)))
        return torch.addcmul(x, gate_mlp, self.mlp(torch.addcmul(d, self.norm_mlp(x), 1 + c)))
