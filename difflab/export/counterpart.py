"""A chain as a diffusers scheduler (DDPMScheduler and, by from_config, its relatives), where one does the same.

Theirs counts t from 0: timestep t - 1 is our step t. Of one step from the network's raw output its mean is ours, x0_hat clipped
or not, and its variance ours for t >= 2; at t = 1 both return the mean, x0_hat. Its tables are float32: 1 - abar_1 is known to
some 1e-4 of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..diffusion import Diffusion

PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
VARIANCE = {"fixed_beta": "fixed_large", "fixed_beta_tilde": "fixed_small", "learned_range": "learned_range"}


@dataclass(frozen=True)
class Missing:
    """A choice that diffusers' DDPMScheduler does not have, and one sentence that says so."""

    applies: Callable[[Diffusion, Mapping[str, Any]], bool]
    sentence: str


MISSING = (
    Missing(
        lambda diffusion, config: not diffusion.process.priced,
        "process={process} steps between states, and diffusers' DDPMScheduler between Gaussians.",
    ),
    Missing(
        lambda diffusion, config: diffusion.schedule.continuous,
        "schedule.T=inf has no list of steps, which diffusers' DDPMScheduler is made of.",
    ),
    Missing(
        lambda diffusion, config: not diffusion.space.identity,
        "space={space} runs the chain in a z that a scheduler of diffusers can neither make nor decode.",
    ),
    Missing(
        lambda diffusion, config: diffusion.process.priced and config["parameterization"]["name"] not in PREDICTION,
        "parameterization={parameterization} has no prediction_type in diffusers, which knows epsilon, sample and v_prediction.",
    ),
    Missing(
        lambda diffusion, config: (
            diffusion.process.priced
            and not diffusion.schedule.continuous
            and config["variance"]["name"] not in VARIANCE
        ),
        "variance={variance} has no variance_type in diffusers that reads the same variance from the same output (its `learned` takes the "
        "variance itself).",
    ),
)


def counterpart(diffusion: Diffusion, config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """(what scheduler_config.json holds, []), or (None, why there is none)."""
    names = {group: node["name"] for group, node in config.items() if isinstance(node, Mapping) and "name" in node}
    if why := [m.sentence.format_map(names) for m in MISSING if m.applies(diffusion, config)]:
        return None, why
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": diffusion.schedule.T,
        "trained_betas": betas(diffusion.schedule.log_snr.detach()),
        "prediction_type": PREDICTION[names["parameterization"]],
        "variance_type": VARIANCE[names["variance"]],
        "clip_sample": bool(config["sampler"].get("clip_x0") and diffusion.decoder.clips),
        "clip_sample_range": 1.0,
        "thresholding": False,
        "timestep_spacing": "linspace",  # keeps both ends, as schedule.even does
        "steps_offset": 0,
        "rescale_betas_zero_snr": False,
    }, []


def betas(log_snr: torch.Tensor) -> list[float]:
    """Float32 numbers whose running product of (1 - beta), each rounded as diffusers does, stays nearest to abar_t: what one
    loses by rounding the next makes good."""
    found, product = [], 1.0
    for abar in torch.sigmoid(log_snr[1:]).tolist():
        beta = torch.tensor(1 - abar / product, dtype=torch.float64).float()
        product *= float((1.0 - beta).double())
        found.append(float(beta))
    return found
