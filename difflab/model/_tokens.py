"""What the transformers share: pictures cut into tokens of `patch` x `patch` pixels, and put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einops import rearrange
from torch import Tensor

from .base import check, check_count, check_fraction, check_pictures

if TYPE_CHECKING:
    from timm.layers.patch_embed import PatchEmbed


def check_transformer(
    model: str,
    shape: tuple[int, ...],
    *,
    patch: int,
    width: int,
    depth: int,
    attention_heads: int,
    mlp_ratio: float,
    dropout: float,
) -> None:
    """ConfigError for sizes that no transformer of such pictures has."""
    check_pictures(model, shape)
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


def embed(shape: tuple[int, ...], features: int, patch: int, width: int) -> PatchEmbed:
    """[B, C features, H, W] -> [B, N, width], for pictures of `shape` padded to whole patches: timm's first layer."""
    # here, because importing timm takes seconds and no other model needs it
    from timm.layers.patch_embed import PatchEmbed

    size = (shape[1] + -shape[1] % patch, shape[2] + -shape[2] % patch)
    return PatchEmbed(size, patch, in_chans=shape[0] * features, embed_dim=width)


def picture(tokens: Tensor, rows: int, patch: int) -> Tensor:
    """[B, N, C patch^2] -> [B, C, H, W], of `rows` rows of patches."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=patch, q=patch)
