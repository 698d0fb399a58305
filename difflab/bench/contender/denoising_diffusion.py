"""denoising-diffusion-pytorch: its Unet between its own learned-variance loss, average and samplers. It has no loop over
the bound; that is lent to it (peer.py)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .base import STEPS, Piece, T
from .peer import Peer


class DenoisingDiffusion(Peer):
    def build(self) -> Module:
        return self._unet(learned_variance=True)

    def _unet(self, learned_variance: bool) -> Any:
        unet = import_module("denoising_diffusion_pytorch").Unet
        return unet(dim=32, dim_mults=(1, 2, 4), channels=self.shape[0], learned_variance=learned_variance)

    def _diffusion(self, learned: bool, model: Any, **lengths: int) -> Any:
        library = import_module("denoising_diffusion_pytorch")
        kind = library.LearnedGaussianDiffusion if learned else library.GaussianDiffusion
        options = {"objective": "pred_noise", "beta_schedule": "cosine", "auto_normalize": False}
        return kind(model, image_size=self.shape[1:], **options, **lengths).to(self.device)

    @cached_property
    def whole(self) -> Any:
        return self._diffusion(True, self.network, timesteps=T)

    def loss(self, x0: Tensor) -> Tensor:
        return self.whole(x0)

    def averager(self) -> Callable[[], object]:
        return import_module("ema_pytorch").EMA(self.whole, beta=0.995, update_every=10).update

    def ancestral(self, batch: int) -> Piece:
        return self._walk(batch, self._diffusion(True, self.network, timesteps=STEPS))

    def ddim(self, batch: int) -> Piece:
        """Without the variance head: with one, its DDIM fails on a name that it does not import (2.3.4)."""
        torch.manual_seed(0)
        model = self._unet(learned_variance=False).to(self.device)
        return self._walk(batch, self._diffusion(False, model, timesteps=T, sampling_timesteps=STEPS))

    def _walk(self, batch: int, diffusion: Any) -> Piece:
        diffusion.eval()

        def whole() -> int:
            diffusion.sample(batch_size=batch)
            return batch * STEPS

        return whole
