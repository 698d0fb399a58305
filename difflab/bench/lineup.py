"""Who takes part. Importing this needs no torch: a peer's library is imported in its own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

INSTALL = "pip install difflab[bench]"
SAME_NETWORK, SMALL, DIT = "ours, same network", "ours, unet_small", "ours, dit_small"
PEERS_LAYOUT = (  # the layout that diffusers' UNet2DModel has at these widths
    "model=unet", "model.channels=32", "model.channel_mult=[1,2,4]", "model.blocks=1", "model.skips=all",
    "model.resample=conv", "model.attention=[]", "model.embedding=128", "model.conditioning=add", "model.groups=8",
    "model.dropout=0", "model.fourier_octaves=[]",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """name: of the row; contender: module:class below bench/contender; keep_blocks: whether its process has the allocator
    of allocator.py, else the C library's own settings; needs: the package it comes from; options: of its constructor."""

    name: str
    contender: str
    keep_blocks: bool
    needs: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.name if self.ours else f"{self.name}, {'allocator fixed' if self.keep_blocks else 'as shipped'}"

    @property
    def ours(self) -> bool:
        return self.contender.startswith("ours:")

    @property
    def missing(self) -> bool:
        return self.needs is not None and find_spec(self.needs) is None


PEERS = (
    Entry("diffusers UNet2DModel", "diffusers_unet:DiffusersUNet", False, "diffusers"),
    Entry("denoising-diffusion-pytorch", "denoising_diffusion:DenoisingDiffusion", False, "denoising_diffusion_pytorch"),
    Entry("improved-diffusion-style", "improved_style:ImprovedStyle", False),
)  # fmt: skip


def ours(name: str, *overrides: str, keep_blocks: bool = True, channels_last: bool = True) -> Entry:
    """difflab with what is typed; its tasks fix the allocator themselves."""
    return Entry(name, "ours:Ours", keep_blocks, options={"overrides": overrides, "channels_last": channels_last})


def small(*overrides: str, name: str = SMALL, keep_blocks: bool = True, channels_last: bool = True) -> Entry:
    return ours(name, "model=unet_small", *overrides, keep_blocks=keep_blocks, channels_last=channels_last)


def lineup(device: str, compile: bool) -> list[Entry]:
    """Every row of the table; on a GPU there is no allocator to fix, and dit_small is measured beside the U-Nets."""
    on_gpu = device == "cuda"
    how = () if compile else ("trainer.compile=never",)
    peers = [replace(peer, keep_blocks=fixed) for fixed in ((False,) if on_gpu else (False, True)) for peer in PEERS]
    own = [ours(SAME_NETWORK, *PEERS_LAYOUT, *how), small(*how)]
    return [*peers, *own, *([ours(DIT, "model=dit_small", *how)] if on_gpu else [])]
