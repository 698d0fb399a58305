"""What a run will cost, said before it starts."""

from __future__ import annotations

import time

import torch

from ..assemble import Laboratory
from ..bound.base import Design
from ..console import config_tree, duration
from ..train.trainer import Trainer, memory_gb


def forecast(lab: Laboratory, trainer: Trainer) -> str:
    """The composed config as a tree and an estimate of time, network evaluations and memory.

    Measured by one forward and backward of a batch that moves nothing: gradients are dropped, the model has no state
    but its weights, and every training step seeds its own randomness.
    """
    settings = trainer.settings
    forward, backward = _seconds(lab, settings.batch_size // settings.accumulate or 1)
    size = settings.batch_size
    steps = max(settings.steps - trainer.step, 0)
    if settings.max_minutes:
        steps = min(steps, int(60 * settings.max_minutes / (size * backward)) + 1)
    examples = {name: len(split) for name, split in (("val", lab.data.val), ("test", lab.data.test))}
    validations = max(1, steps // settings.val_every) if settings.val_every else 1
    nfe = {
        "training": steps * size,
        "validation": validations * (_nfe(lab.validation, examples["val"], lab) + _sampler_nfe(lab, preview=True)),
        "test": _nfe(lab.bound, examples["test"], lab) + _sampler_nfe(lab, preview=False),
    }
    seconds = nfe["training"] * backward + (nfe["validation"] + nfe["test"]) * forward
    parameters = sum(p.numel() for p in lab.model.parameters())
    parts = ", ".join(f"{count:,} {name}" for name, count in nfe.items())
    return (
        f"{config_tree(dict(lab.config))}\n"
        f"about {duration(seconds)}: {sum(nfe.values()):,} network evaluations ({parts}) of {parameters:,} parameters "
        f"on {lab.device}, {memory_gb(lab.device):.1f} GB"
    )


def _seconds(lab: Laboratory, size: int) -> tuple[float, float]:
    """Seconds for each example of (one evaluation, one training evaluation): second of two tries."""
    x = torch.zeros(size, *lab.data.shape, device=lab.device)
    log_snr = torch.linspace(-5, 5, size, device=lab.device)
    times = []
    for gradient in (False, True):
        for _ in range(2):
            started = time.perf_counter()
            with torch.set_grad_enabled(gradient):
                out = lab.model(x, log_snr, None)
                if gradient:
                    out.sum().backward()
                float(out.detach().sum())  # waits for the device
            taken = time.perf_counter() - started
        times.append(taken / size)
    lab.model.zero_grad(set_to_none=True)
    return times[0], times[1]


def _nfe(design: Design, available: int, lab: Laboratory) -> int:
    examples = min(design.examples or available, available)
    return examples * len(design.plan(torch.zeros(1, dtype=torch.int64), lab.diffusion.schedule.T).t)


def _sampler_nfe(lab: Laboratory, preview: bool) -> int:
    sampler = lab.preview if preview else lab.sampler
    return sampler.count * sampler.length(lab.diffusion.schedule)
