"""Pictures from a checkpoint's EMA weights, always from the same noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..assemble import Laboratory
from ..bound.chain import optimal_times
from ..bound.optimal import Fit
from ..diffusion import Diffusion
from ..sampler.base import Sampler
from ..train import checkpoint
from ..train.signals import Stop
from .evaluate import opened, stem
from .measure import stage, training_fit

NOISE_SEED = 0  # fixed and apart from `seed`: the grids of all runs start from the same noise


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=sample run=RUN_DIR_OR_CHECKPOINT [sampler...]: written into that run's samples/."""
    lab, diffusion, step, source = opened(config)
    home = checkpoint.run_of(source)
    name, steps = config["sampler"]["name"], lab.sampler.length(lab.diffusion.schedule)
    with Stop() as stop:
        chain = None
        if lab.sampler.optimal:
            measured = lab.computing(diffusion, "evaluate")
            chain = chain_of(training_fit(lab, measured, step, home / "bound", stop)[0], lab.sampler)
            name += "-optimal"
        with stage("sampling", stop, unit="step") as on_step:
            x = draw(lab, diffusion, lab.sampler, chain, on_step)
    path = picture(
        lab, x, home / "samples" / f"{stem(step)}-{name}-{steps}{guided(lab.sampler)}", columns(lab, lab.sampler)
    )
    print("\n".join([str(path), *caveat(lab.sampler)]), flush=True)
    return {"samples": str(path), "step": step}


def chain_of(fits: Mapping[bool, Fit], sampler: Sampler) -> Callable[[int], Tensor]:
    """The levels of the optimal K-step chain, as a function of K: the cheapest for the best isotropic variance, priced
    with the error of x0_hat in the sampler's own clip mode where that was measured."""

    def times(steps: int) -> Tensor:
        fit = fits.get(sampler.clip_x0) or next(iter(fits.values()))
        return torch.from_numpy(optimal_times(fit.log_snr, fit.mse_x0, steps))

    return times


def draw(
    lab: Laboratory,
    diffusion: Diffusion,
    sampler: Sampler,
    chain: Callable[[int], Tensor] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    seed: int = NOISE_SEED,
    label: Tensor | None = None,
) -> Tensor:
    """x_0 of the data, float32 [count, ...] on the CPU, as the sampler shows them. `chain`: the levels of K steps, for a sampler that wants
    optimal ones; `label`: int64 [count], the sampler's own choice unless given."""
    sampler, chosen = told(lab, sampler, seed)
    diffusion = lab.computing(diffusion, "sample")
    z = sampler.sample(diffusion, lab.shape, seed, lab.device, on_step, chain, chosen if label is None else label)
    return sampler.arranged(diffusion.space.decode(z)).cpu()


def told(lab: Laboratory, sampler: Sampler, seed: int = NOISE_SEED) -> tuple[Sampler, Tensor | None]:
    """(the sampler with the examples that it may complete, the labels of its samples where the network is told them)."""
    if not sampler.free:  # nobody else needs the data
        sampler = sampler.given(lab.examples(lab.data.test), seed)
    return sampler, sampler.labels(lab.classes, seed) if lab.classes else None


def guided(sampler: Sampler) -> str:
    """What tells a file of guided samples from one of the model's own."""
    return "" if sampler.guidance == 1 else f"-guidance{sampler.guidance:g}"


def caveat(sampler: Sampler) -> list[str]:
    """A line to print with samples that are none of the model whose bound is measured."""
    if sampler.guidance == 1:
        return []
    whose = "without labels" if sampler.guidance == 0 else "towards their labels"
    return [
        f"drawn with guidance {sampler.guidance:g}, {whose}: no samples of the model whose bound is measured ({sampler.nfe} network evaluations a step)"
    ]


def columns(lab: Laboratory, sampler: Sampler) -> int | None:
    """Of the grid that a sampler's pictures are shown in: with labels, every row is of one class (until they run out)."""
    return sampler.columns or (sampler.count // lab.classes or None if lab.classes else None)


def picture(lab: Laboratory, x: Tensor, path: Path, columns: int | None = None) -> Path:
    """What the data set makes of samples, `path` with the suffix that it chooses: a grid of pictures (of so many columns), a
    cloud, lines of text."""
    return lab.data.show(x, path, columns)
