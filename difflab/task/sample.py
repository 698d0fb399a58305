"""Pictures from a checkpoint's EMA weights, always from the same noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..assemble import Laboratory
from ..console import Progress
from ..diffusion import Diffusion
from ..figure import sample_grid, scatter
from ..sampler.base import Sampler
from ..train import checkpoint
from ..train.signals import Stop
from .evaluate import opened, stem, watch

NOISE_SEED = 0  # fixed and apart from `seed`: the grids of all runs start from the same noise


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=sample run=RUN_DIR_OR_CHECKPOINT [sampler...]: written into that run's samples/."""
    lab, diffusion, step, source = opened(config)
    home = checkpoint.run_of(source)
    name, steps = config["sampler"]["name"], lab.sampler.length(lab.diffusion.schedule)
    with Stop() as stop, Progress("sampling", unit="step") as bar:
        x = draw(lab, diffusion, lab.sampler, watch(bar, stop))
    path = picture(lab, x, home / "samples" / f"{stem(step)}-{name}-{steps}.png")
    print(path, flush=True)
    return {"samples": str(path), "step": step}


def draw(
    lab: Laboratory, diffusion: Diffusion, sampler: Sampler, on_step: Callable[[int, int], None] | None = None
) -> Tensor:
    """x_0 float32 [count, ...] on the CPU."""
    return sampler.sample(diffusion, lab.data.shape, NOISE_SEED, lab.device, on_step).cpu()


def picture(lab: Laboratory, x: Tensor, path: Path) -> Path:
    """A grid of images, or the first two coordinates of vectors over the data's own."""
    if len(lab.data.shape) == 3:
        return sample_grid(lab.data.to_pixels(x), path)
    reference = lab.data.to_unit(lab.data.test.x)
    flat = (x, reference) if x.shape[1] > 1 else (torch.cat([y, torch.zeros_like(y)], 1) for y in (x, reference))
    points, reference = (y[:, :2].numpy() for y in flat)
    return scatter(points, reference, path)
