"""The mapping at a checkpoint, to be looked at: x_t on the way to noise, the sampler's walk back, which frequencies drown when."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..assemble import Laboratory
from ..bound.estimator import encoded
from ..diffusion import Diffusion
from ..errors import ConfigError
from ..mapping import record
from ..mapping.spectrum import centred, drowned, spectrum
from ..mapping.walk import forward, places, reverse, shortened
from ..schedule.base import even
from ..train import checkpoint
from ..train.signals import Stop
from .evaluate import opened, stem
from .measure import OnBatch, stage, training_fit
from .sample import NOISE_SEED, chain_of, told

SIDE = 64  # pixels of a kept picture: of a larger one every second pixel is kept, or every third, ...
COUNT = {True: 4, False: 400}  # rows of pictures, points
PATHS, KNOTS = 100, 32  # trajectories, and levels of each
EXAMPLES = 1000  # of which spectra are the means
CHAIN = 120  # levels of the chain that a page draws


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=mapping run=RUN_DIR_OR_CHECKPOINT [sampler...]: mapping/step_N.npz of that run; task=report shows it."""
    task = check(config["task"])
    lab, diffusion, step, source = opened(config)
    if not lab.sampler.free:
        raise ConfigError(
            f"sampler={config['sampler']['name']} completes given examples, and the mapping is a walk from nothing; set sampler=ancestral."
        )
    home = checkpoint.run_of(source)
    with Stop() as stop:
        chain = None
        if lab.sampler.optimal:
            measured = lab.computing(diffusion, "evaluate")
            chain = chain_of(training_fit(lab, measured, step, home / "bound", stop)[0], lab.sampler)
        with stage("walking the mapping", stop, unit="step") as on_step:
            arrays = seen(lab, diffusion, task, on_step, chain)
    about = {
        "step": step, "weights": record.weights(source), "sampler": dict(lab.config["sampler"]), "steps": int(arrays["visited"]),
        "T": diffusion.schedule.T, "examples": min(EXAMPLES, len(lab.data.test)), "shape": list(lab.data.shape),
    }  # fmt: skip
    path = record.save(home / record.FOLDER / f"{stem(step)}.npz", arrays, about)
    print(path, flush=True)
    return {"mapping": str(path), "step": step}


def check(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """ConfigError for values that nothing can be drawn of."""
    for key, least in (("levels", 2), ("walk", 1), ("count", 1)):
        if task[key] is not None and task[key] < least:
            raise ConfigError(f"task.{key}={task[key]} must be at least {least}.")
    return task


@torch.no_grad()  # a schedule that learns has a graph
def seen(
    lab: Laboratory,
    diffusion: Diffusion,
    task: Mapping[str, Any],
    on_step: OnBatch | None = None,
    chain: Callable[[int], Tensor] | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of mapping/record.py."""
    pictures = len(lab.data.shape) == 3
    show = display(lab)
    sampler = shortened(lab.sampler, task["walk"], task["count"] or COUNT[pictures])
    computing = lab.computing(diffusion, "sample")
    sampler, label = told(lab, sampler)
    walk = reverse(computing, sampler, lab.shape, NOISE_SEED, lab.device, show, on_step, chain, label)
    log_snr = diffusion.schedule.log_snr.detach().numpy()
    visited = log_snr[walk.t[::-1]]
    t, back, x0_hat = walk.at(places(visited, task["levels"]))
    ends = (1, diffusion.schedule.T, CHAIN // 2)  # half of them where log SNR falls fastest
    chosen = np.unique(np.concatenate([np.linspace(*ends), np.geomspace(*ends)]).round().astype(int))
    arrays = {
        "visited": np.array(len(walk.t)), "t": t, "log_snr": log_snr[t], "chain_t": chosen, "chain_log_snr": log_snr[chosen],
        "reverse": back, "x0_hat": x0_hat,
    }  # fmt: skip
    test = lab.examples(lab.data.test)

    def there(count: int, times: np.ndarray) -> Tensor:
        few = test.first(count)
        z = encoded(diffusion.space, few, slice(None), lab.bound.seed, lab.device).z.cpu()
        return forward(diffusion, z, few.index, torch.from_numpy(times), lab.bound.seed)

    arrays["forward"] = np.stack([show(x) for x in there(sampler.count, t)])
    if pictures and not (diffusion.process.priced and diffusion.space.identity):
        return arrays  # the spectra are those of a signal and of Gaussian noise on it
    if pictures:
        path = there(EXAMPLES, t)
        about_mean = {f"centred_{name}": value for name, value in spectra(map(centred, path), log_snr).items()}
        return arrays | spectra(path, log_snr) | about_mean
    path_t, path, _ = walk.at(even(len(visited), min(KNOTS, len(visited))).numpy() - 1)
    return arrays | {
        "path_t": np.append(0, path_t),
        "forward_path": np.stack([show(x) for x in there(min(PATHS, sampler.count), path_t)]),
        "reverse_path": path[:, :PATHS],
    }


def display(lab: Laboratory) -> Callable[[Tensor], np.ndarray]:
    """What is kept of x [N, ...]: grey levels of pictures, clamped to the data's range; of vectors two coordinates."""
    shape = lab.data.shape
    if len(shape) == 3:
        every = math.ceil(max(shape[1:]) / SIDE)
        return lambda x: lab.data.to_pixels(x[..., ::every, ::every]).numpy()
    return lambda x: x[:, :2].float().numpy()


def spectra(path: Iterable[Tensor], log_snr: np.ndarray) -> dict[str, np.ndarray]:
    """Of x_0 and of x_t, each [N, C, H, W], and where the bands drown on the chain log_snr [T + 1]."""
    clean, *noised = map(spectrum, path)
    with np.errstate(divide="ignore"):
        level = -np.log(clean.power)
    return {
        "coefficients": clean.coefficients, "power": clean.power, "power_se": clean.se, "drowned_log_snr": level,
        "drowned_t": drowned(clean.power, log_snr), "noised_power": np.stack([x.power for x in noised]),
        "noised_power_se": np.stack([x.se for x in noised]),
    }  # fmt: skip
