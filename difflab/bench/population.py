"""The population bound to a standard error: our wall time against what the exhaustive loop over all t would take.

That loop is not run. For the mean over the data to have a standard error se it needs (sd / se)^2 examples, T network
evaluations each, where sd is how much the bound differs between examples; sd is measured on the same checkpoint, with the
noise of the evaluation taken out, which is in the loop's favour.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..assemble import Laboratory, assemble
from ..bound.estimator import evaluate
from ..build import build
from ..diffusion import Diffusion
from ..errors import ConfigError
from ..precision import resolve
from ..task.measure import informed
from .contender.ours import composed, composed_from, trainer_of

COMMON = ("tracker=none",)
TRAINED = (
    "model=unet_small",
    "trainer.batch_size=32",
    "optimizer.warmup_steps=50",
    "trainer.steps=1000000",
    "trainer.compile=never",
)


def measure(
    device: torch.device,
    run: str | None,
    train_seconds: float,
    target_se: float,
    probe_examples: int,
    precisions: list[str],
) -> dict[str, Any]:
    """`run`: a run directory or None, which trains unet_small for so many seconds on Fashion-MNIST (where it is found, else
    on the digits in the package). Returns what was measured, standard errors and sd in bits/dim; `ours`: one a precision."""
    lab, diffusion, origin = _opened(device, run) if run else _trained(device, train_seconds)
    ours = [_to_target(lab, diffusion, precision, target_se) for precision in precisions]
    return {
        "origin": origin,
        "shape": list(lab.data.shape),
        "T": diffusion.schedule.T,
        "target_se": target_se,
        "ours": ours,
        **_spread(lab, diffusion, probe_examples),
    }


def _trained(device: torch.device, seconds: float) -> tuple[Laboratory, Diffusion, str]:
    settings = (*COMMON, *TRAINED, f"trainer.max_minutes={seconds / 60}", f"device={device}")
    try:
        lab = assemble(composed(["data=fashion_mnist", "data.download=false", *settings]))
    except ConfigError:
        lab = assemble(composed(["data=digits", *settings]))
    trainer = trainer_of(lab, {})
    trainer.run(lambda row: None)
    name = lab.config["data"]["name"]
    return lab, trainer.averaged, f"unet_small trained for {trainer.seconds:.0f} s ({trainer.step:,} steps) on {name}"


def _opened(device: torch.device, run: str) -> tuple[Laboratory, Diffusion, str]:
    lab = assemble(composed_from(run, [*COMMON, f"device={device}"]))
    diffusion, step = lab.at(Path(run))
    return lab, diffusion, f"step {step:,} of {Path(run).name} on {lab.config['data']['name']}"


def _to_target(lab: Laboratory, diffusion: Diffusion, precision: str, target_se: float) -> dict[str, Any]:
    """The importance design, its pilot included, until the standard error is reached or seen to be out of reach."""
    lab = _with(lab, precision)
    node = composed(["bound=importance", f"bound.target_se={target_se}"])["bound"]
    diffusion = lab.computing(diffusion, "evaluate")
    started = time.perf_counter()
    design, pilot_nfe = informed(lab, diffusion, build("bound", node), lab.data.test, lambda done, total: None)
    estimate = evaluate(diffusion, lab.examples(lab.data.test), design, lab.device)
    seconds = time.perf_counter() - started
    assert estimate.target
    return {
        "precision": lab.precision["evaluate"],
        "seconds": seconds,
        "nfe": estimate.nfe + pilot_nfe,
        "pilot_nfe": pilot_nfe,
        "bpd": float(estimate.totals().mean() * estimate.scale),
        "se": estimate.target.reached_se,
        "reached": estimate.target.reached,
        "sentence": estimate.target.sentence(estimate.unit.label, estimate.nfe),
    }


def _spread(lab: Laboratory, diffusion: Diffusion, examples: int) -> dict[str, Any]:
    """sd between examples, from the covariance of two independent draws of each, and the relative error of its square."""
    options = ["bound=importance_per_example", "bound.draws=2", "bound.times=20", "bound.exact_steps=20"]
    node = composed([*options, f"bound.examples={examples}"])["bound"]
    lab = _with(lab, "auto")
    diffusion = lab.computing(diffusion, "evaluate")
    design, _ = informed(lab, diffusion, build("bound", node), lab.data.test, lambda done, total: None)
    estimate = evaluate(diffusion, lab.examples(lab.data.test), design, lab.device)
    variance, error = shared_variance(estimate.totals() * estimate.scale)
    return {"sd": math.sqrt(max(variance, 0.0)), "variance_error": error / variance, "probed": len(estimate.index)}


def shared_variance(totals: np.ndarray) -> tuple[float, float]:
    """(variance between examples, its standard error) from two independent draws of each, [N, 2]: their covariance."""
    centred = totals - totals.mean(0)
    products = centred[:, 0] * centred[:, 1]
    n = len(products)
    return float(products.sum() / (n - 1)), float(products.std(ddof=1) / math.sqrt(n))


def _with(lab: Laboratory, precision: str) -> Laboratory:
    return replace(lab, precision={**lab.precision, "evaluate": resolve("precision.evaluate", precision, lab.device)})
