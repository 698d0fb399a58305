"""A residual perceptron for vectors: the toys and whatever a space has flattened."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._features import Conditioning, float32, working_dtype
from .base import Model, check_count, check_fraction, check_vectors


class MLP(Model):
    """`depth` residual blocks of `width`, each scaled and shifted by the noise level."""

    def __init__(
        self,
        shape: tuple[int, ...],
        heads: int,
        *,
        width: int,
        depth: int,
        embedding: int,
        dropout: float,
        num_classes: int | None,
    ) -> None:
        check_vectors("mlp", shape)
        check_count("width", width)
        check_count("depth", depth)
        check_fraction("dropout", dropout)
        super().__init__(shape, heads)
        self.conditioning = Conditioning(embedding, num_classes)
        self.stem = nn.Linear(shape[0], width)
        self.blocks = nn.ModuleList(_Block(width, embedding, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, self.outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        embedding = self.conditioning(log_snr, cond)
        with float32(x_t):
            x = self.stem(x_t.float())
        x = x.to(working_dtype(x))
        for block in self.blocks:
            x = block(x, embedding)
        with float32(x):
            return self.out(self.norm(x.float()))


class _Block(nn.Module):
    """x + out(silu(hidden(scale norm(x) + shift))), zero at the start."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.level = nn.Linear(embedding, 2 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.level(embedding).chunk(2, dim=1)
        h = self.hidden(torch.addcmul(shift, self.norm(x), 1 + scale))
        return x + self.out(self.dropout(F.silu(h)))
