"""What a run will cost, said before it starts."""

from __future__ import annotations

import time

import torch

from .. import ranks
from ..assemble import Laboratory
from ..bound.base import Design
from ..bound.verify import affordable
from ..console import config_tree, duration
from ..diffusion import Network, reach
from ..train.trainer import Trainer, memory_gb
from ..variance.base import Fitted
from .advise import chain_line


def forecast(lab: Laboratory, trainer: Trainer) -> str:
    """The composed config as a tree and an estimate of time, network evaluations and memory.

    Measured by one forward and backward of a batch that moves nothing: gradients are dropped, the model has no state
    but its weights, and every training step seeds its own randomness.
    """
    settings = trainer.settings
    rows = trainer.rows.stop - trainer.rows.start
    forward, backward = _seconds(lab, trainer, max(1, rows // settings.accumulate) * max(lab.timestep.widths))
    size = settings.batch_size * sum(lab.timestep.widths)
    steps = max(settings.steps - trainer.step, 0)
    if settings.max_minutes:
        steps = min(steps, int(60 * settings.max_minutes * trainer.ranks.world / (size * backward)) + 1)
    validations = max(1, steps // settings.val_every) if settings.val_every else 1
    fit = _nfe(lab.fit, len(lab.data.train), lab) if isinstance(lab.diffusion.variance, Fitted) else 0
    each = _nfe(lab.validation, len(lab.data.val), lab) + fit + _sampler_nfe(lab, preview=True)
    nfe = {
        "training": steps * size,
        "validation": validations * each,
        "test": _final_nfe(lab) + _sampler_nfe(lab, preview=False),
    }
    seconds = (nfe["training"] * backward + (nfe["validation"] + nfe["test"]) * forward) / trainer.ranks.world
    share = nfe["validation"] * forward / (nfe["training"] * backward) if steps else 0.0
    parameters = sum(p.numel() for p in lab.model.parameters())
    parts = ", ".join(f"{count:,} {name}" for name, count in nfe.items())
    advice = (
        chain_line(lab.data, lab.diffusion.schedule) if lab.diffusion.priced and lab.diffusion.space.identity else None
    )
    return (
        f"{config_tree(dict(lab.config))}\n"
        f"{f'{advice}{chr(10)}' if advice else ''}"
        f"about {duration(seconds)}: {sum(nfe.values()):,} network evaluations ({parts}) of {parameters:,} parameters "
        f"on {lab.device} ({trainer.compute}{f', {trainer.ranks.world} processes' if trainer.ranks.world > 1 else ''}), {memory_gb(lab.device):.1f} GB; validation takes {share:.0%} of the time of training"
    )


def forecast_evaluation(lab: Laboratory) -> str:
    """The same for task=evaluate, at most: what an earlier evaluation left is not done again."""
    nfe, size = _final_nfe(lab), min(lab.bound.batch_size, 128)
    seconds = nfe * _forward_seconds(lab, lab.computing(lab.diffusion, "evaluate").model, size) / ranks.current().world
    return (
        f"{config_tree(dict(lab.config))}\n"
        f"at most about {duration(seconds)}: {nfe:,} network evaluations on {lab.device}, {memory_gb(lab.device):.1f} GB"
    )


def _seconds(lab: Laboratory, trainer: Trainer, size: int) -> tuple[float, float]:
    """Seconds for each example of (one evaluation, one training evaluation)."""
    evaluated, trained = lab.computing(lab.diffusion, "evaluate").model, trainer.trained.model
    times = _forward_seconds(lab, evaluated, size), _forward_seconds(lab, trained, size, gradient=True)
    lab.model.zero_grad(set_to_none=True)
    return times


def _forward_seconds(lab: Laboratory, network: Network, size: int, gradient: bool = False) -> float:
    """Seconds for each example of one evaluation, with its gradient if asked: the second of two tries."""
    shape, _ = lab.diffusion.process.seen_as(lab.shape, lab.levels)
    x = torch.zeros(size, *shape, device=lab.device)
    log_snr = torch.linspace(-5, 5, size, device=lab.device)
    taken = 0.0
    for _ in range(2):
        started = time.perf_counter()
        with torch.set_grad_enabled(gradient):
            out = network(x, log_snr, None)
            if gradient:
                (out.sum() + reach(network, out)).backward()
            float(out.detach().sum())  # waits for the device
        taken = time.perf_counter() - started
    return taken / size


def _nfe(design: Design, available: int, lab: Laboratory) -> int:
    """Of one evaluation of a design, its pilot included."""
    examples = min(design.examples or available, available)
    pilot = _nfe(design.pilot, len(lab.data.val), lab) if design.pilot else 0
    return examples * design.rows(lab.diffusion.schedule.T) + pilot


def _final_nfe(lab: Laboratory) -> int:
    """Of the measurement on the test split: the fit on training examples, the evaluation, the chains evaluated in fact."""
    chains, T = lab.config["chains"], lab.diffusion.schedule.T
    own = _nfe(lab.bound, len(lab.data.test), lab)
    examples = min(chains["examples"], lab.bound.examples or len(lab.data.test), len(lab.data.test))
    verified = 2 * examples * sum(affordable(chains["verify"], T, examples, own))
    fit = _nfe(lab.fit, len(lab.data.train), lab) if lab.diffusion.priced else 0
    return fit + own + verified


def _sampler_nfe(lab: Laboratory, preview: bool) -> int:
    sampler = lab.preview if preview else lab.sampler
    return sampler.count * sampler.length(lab.diffusion.schedule) * sampler.nfe
