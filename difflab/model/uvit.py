"""U-ViT (Bao et al. 2023, "All are Worth Words"): a vision transformer with a U-Net's long skip connections.

conf/model/uvit.yaml is theirs for CIFAR-10, uvit_small.yaml suits a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ._blocks import zero
from ._features import Conditioning, Fourier, crop, float32, pad, rows_of, working_dtype
from ._tokens import check_transformer, embed, picture
from .base import Model, check, check_count

if TYPE_CHECKING:
    from timm.models.vision_transformer import Block


class UViT(Model):
    """All inputs are tokens: `patch` x `patch` pixels, the noise level, the label, with learned positions.

    `depth` is odd: the middle block, and as many before it as after it. A block of the second half first joins its
    mirror image of the first, Linear(cat(x, kept)): the best of the paper's ways (figure 2a). A 3 x 3 convolution of the
    picture ends it, so that neighbouring patches fit together (figure 2c). Sizes that the patches do not divide are
    padded inside and cropped at the end.

    Not theirs: a perceptron between the sinusoids and the noise level's token, residual branches that start at zero,
    torch's initialisation elsewhere (theirs, std 0.02, is as wide at width 512 and too narrow below).
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
            "uvit",
            shape,
            patch=patch,
            width=width,
            depth=depth,
            attention_heads=attention_heads,
            mlp_ratio=mlp_ratio,
            dropout=dropout,
        )
        check(
            depth % 2 == 1,
            f"model.depth={depth} must be odd, a middle block and pairs around it; take {depth + 1}.",
        )
        if num_classes is not None:
            check_count("num_classes", num_classes)
        super().__init__(shape, heads)
        # here, because importing timm takes seconds and no other model needs it
        from timm.models.vision_transformer import Block

        def block(joins: bool) -> _Block:
            inner = Block(width, attention_heads, mlp_ratio, proj_drop=dropout)  # no bias of q, k, v: as in the paper
            return _Block(inner, width, joins, gradient_checkpointing)

        self.patch = patch
        self.fourier = Fourier(levels, fourier_octaves, fourier_damping)
        self.conditioning = Conditioning(embedding, None)
        self.level = nn.Linear(embedding, width)
        # one row more than there are classes: "label unknown"
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, width)
        self.extras = 1 if num_classes is None else 2  # tokens that are no pixels; they come first
        self.stem = embed(shape, self.fourier.channels, patch, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, self.extras + (self.stem.num_patches or 0), width))
        half = depth // 2
        self.shallow = nn.ModuleList(block(joins=False) for _ in range(half))
        self.middle = block(joins=False)
        self.deep = nn.ModuleList(block(joins=True) for _ in range(half))
        self.norm = nn.LayerNorm(width)
        self.patches = nn.Linear(width, self.outputs * patch**2)
        self.out = zero(nn.Conv2d(self.outputs, self.outputs, 3, padding=1))

    def forward(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        embedding = self.conditioning(log_snr, None)
        with float32(x_t):
            padded = pad(self.fourier(x_t, log_snr), self.patch)
            tokens = [self.level(embedding)[:, None], self.stem(padded)]
            if self.label is not None:
                tokens.insert(0, self.label(rows_of(cond, self.label, log_snr))[:, None])
            x = torch.cat(tokens, dim=1) + self.position
        x = x.to(working_dtype(x))
        kept: list[Tensor] = []
        for block in self.shallow:
            x = block(x)
            kept.append(x)
        x = self.middle(x)
        for block in self.deep:
            x = block(x, kept.pop())
        with float32(x):
            patches = self.patches(self.norm(x[:, self.extras :].float()))
            raw = self.out(picture(patches, padded.shape[-2] // self.patch, self.patch))
        return crop(raw, x_t)


class _Block(nn.Module):
    """timm's pre-norm block, its two branches 0 at first; before it, if it `joins`, Linear(cat(x, kept))."""

    def __init__(self, block: Block, width: int, joins: bool, gradient_checkpointing: bool) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.join = nn.Linear(2 * width, width) if joins else None
        self.block = block
        for last in (block.attn.proj, block.mlp.fc2):
            zero(last)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(self._run, x, kept, use_reentrant=False)
        return self._run(x, kept)

    def _run(self, x: Tensor, kept: Tensor | None) -> Tensor:
        if self.join is not None and kept is not None:
            x = self.join(torch.cat([x, kept], dim=-1))
        # the fused backward is slow on a CPU; timm calls the switch final only for its scripted models
        self.block.attn.fused_attn = x.is_cuda  # pyright: ignore[reportArgumentType]
        return self.block(x)
