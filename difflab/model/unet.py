"""The U-Net of Ho et al. 2020, appendix B: conf/model/unet.yaml is theirs for CIFAR-10, unet_small.yaml suits a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ._blocks import Block, Down, Norm, Stage, Up, zero
from ._features import Conditioning, Fourier, crop, float32, pad, working_dtype
from .base import Model, check, check_choice, check_count, check_fraction, check_pictures


class UNet(Model):
    """Residual blocks on a pyramid of resolutions, each level joined to its mirror image on the way up.

    Sizes that the pyramid does not divide are padded inside and cropped at the end. `skips`: "blocks" hands over the
    output of every block, "all" also that of the first layer and of every Down (DDPM: one more block per level up);
    "sum" adds what "blocks" joins: narrower maps on the way up, where the largest part of the time went.
    `attention` counts levels from 0, the finest; the middle always attends.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int | None,
        heads: int,
        *,
        channels: int,
        channel_mult: Sequence[int],
        blocks: int,
        skips: str,
        resample: str,
        attention: Sequence[int],
        attention_head_dim: int | None,
        embedding: int,
        conditioning: str,
        groups: int,
        dropout: float,
        fourier_octaves: Sequence[int] | None,
        fourier_damping: bool,
        num_classes: int | None,
        gradient_checkpointing: bool,
    ) -> None:
        check_pictures("unet", shape)
        check_count("blocks", blocks)
        check_fraction("dropout", dropout)
        check_choice("skips", skips, ("all", "blocks", "sum"))
        check_choice("resample", resample, ("conv", "pool"))
        check_choice("conditioning", conditioning, ("add", "film"))
        widths = _widths(channels, channel_mult, groups, attention_head_dim)
        _check_levels(shape, widths, attention)
        super().__init__(shape, heads)
        self.multiple = 2 ** (len(widths) - 1)
        self.fourier = Fourier(levels, fourier_octaves, fourier_damping)
        self.conditioning = Conditioning(embedding, num_classes)
        self.stem = nn.Conv2d(shape[0] * self.fourier.channels, widths[0], 3, padding=1)

        def stage(inputs: int, width: int, attends: bool, count: int = 1) -> Stage:
            block = Block(embedding, groups, dropout, conditioning == "film")
            return Stage(inputs, width, block, count, attends, attention_head_dim, gradient_checkpointing)

        # `kept` is the stack of skip widths: filled on the way down in the order in which forward() fills its own
        every, added, learned, now = skips == "all", skips == "sum", resample == "conv", widths[0]
        kept = [now] if every else []
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for index, width in enumerate(widths):
            if index:
                self.down.append(Down(now, learned))
                kept += [now] if every else []
            for _ in range(blocks):
                self.down.append(stage(now, width, index in attention))
                now = width
                kept.append(now)
        self.skips_resampled, self.skips_added = every, added
        self.middle = stage(now, now, True, count=2)
        for index, width in reversed(list(enumerate(widths))):
            for _ in range(blocks + every):
                handed = kept.pop()
                self.up.append(stage(handed if added else now + handed, width, index in attention))
                now = width
            if index:
                below = widths[index - 1] if added else now
                self.up.append(Up(now, below, learned))
                now = below
        self.norm = Norm(groups, now)
        self.out = zero(nn.Conv2d(now, self.outputs, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # the fastest layout; feature maps follow the weights

    def forward(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        embedding = self.conditioning(log_snr, cond)
        with float32(x_t):
            x = self.stem(pad(self.fourier(x_t, log_snr), self.multiple))
        x = x.to(working_dtype(x))
        kept = [x] if self.skips_resampled else []
        for part in self.down:
            x = part(x, embedding)
            if self.skips_resampled or isinstance(part, Stage):
                kept.append(x)
        x = self.middle(x, embedding)
        for part in self.up:
            x = part(self._joined(x, kept.pop()) if isinstance(part, Stage) else x, embedding)
        with float32(x):
            raw = self.out(silu(self.norm(x.float())))
        return crop(raw, x_t)

    def _joined(self, x: Tensor, kept: Tensor) -> Tensor:
        """A map of the way up with its mirror image of the way down."""
        return x + kept if self.skips_added else torch.cat([x, kept], dim=1)


def _widths(channels: int, channel_mult: Sequence[int], groups: int, head_dim: int | None) -> list[int]:
    """Channels of each level; ConfigError where groups or heads do not divide them."""
    check_count("channels", channels)
    check_count("groups", groups)
    check(len(channel_mult) > 0, "model.channel_mult=[] must name at least one level; [1,2] has two.")
    for multiplier in channel_mult:
        check_count("channel_mult", multiplier)
    widths = [channels * multiplier for multiplier in channel_mult]
    for width in widths:
        check(
            width % groups == 0,
            f"model.groups={groups} must divide each level's width, {widths}; change it or model.channels={channels}.",
        )
        if head_dim is not None:
            check_count("attention_head_dim", head_dim)
            check(
                width % head_dim == 0,
                f"model.attention_head_dim={head_dim} must divide each level's width, {widths}; null is one wide head.",
            )
    return widths


def _check_levels(shape: tuple[int, ...], widths: list[int], attention: Sequence[int]) -> None:
    """ConfigError if the picture is too small for the pyramid, or attention names a level that is not there."""
    last = len(widths) - 1
    smallest = 2**last
    check(
        min(shape[1:]) >= smallest,
        f"model.channel_mult has {last + 1} levels and needs pictures of at least {smallest} x {smallest}, "
        f"and this data is {shape[1]} x {shape[2]}; give it at most {min(shape[1:]).bit_length()} entries.",
    )
    check(
        all(isinstance(index, int) and 0 <= index <= last for index in attention),
        f"model.attention={list(attention)} must hold levels in 0..{last}, 0 the finest; see model.channel_mult.",
    )
