"""Hugging Face diffusers: UNet2DModel with its DDPM and DDIM schedulers. It has no likelihood; the loss with a learned
variance and the bound are lent to it (peer.py)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .base import STEPS, Piece, T
from .peer import Peer

BETAS = "squaredcos_cap_v2"


class DiffusersUNet(Peer):
    def build(self) -> Module:
        channels, height, _ = self.shape
        return import_module("diffusers").UNet2DModel(
            sample_size=height, in_channels=channels, out_channels=2 * channels, layers_per_block=1,
            block_out_channels=(32, 64, 128), down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3,
        )  # fmt: skip

    def raw(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.network(x_t, t).sample

    def averager(self) -> Callable[[], object]:
        average = import_module("diffusers.training_utils").EMAModel(self.network.parameters())
        return lambda: average.step(self.network.parameters())

    def ancestral(self, batch: int) -> Piece:
        scheduler = import_module("diffusers").DDPMScheduler(T, beta_schedule=BETAS, variance_type="learned_range")
        return self._walk(batch, scheduler, heads=2)

    def ddim(self, batch: int) -> Piece:
        return self._walk(batch, import_module("diffusers").DDIMScheduler(T, beta_schedule=BETAS), heads=1)

    def _walk(self, batch: int, scheduler: Any, heads: int) -> Piece:
        """The loop of its pipelines; a scheduler that knows no learned variance is given the mean's `heads` alone."""
        self.network.eval()
        scheduler.set_timesteps(STEPS)

        @torch.no_grad()
        def whole() -> int:
            x = torch.randn(batch, *self.shape, device=self.device)
            for t in scheduler.timesteps:
                x = scheduler.step(self.raw(x, t)[:, : heads * self.shape[0]], t, x).prev_sample
            return batch * STEPS

        return whole
