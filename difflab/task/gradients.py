"""How noisy a training gradient is with each timestep sampler, at the weights of a checkpoint and at equal cost.

Two independent gradients g, h of the same objective have E|g - h|^2 / 2 = tr Cov and E g.h = |mean|^2: both are unbiased
from pairs, and every pair says one value of each, so their standard errors are those of a mean. Each gradient costs `nfe`
network evaluations: nfe examples with one t, or as many whole chains as that pays for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import tables
from ..assemble import Laboratory
from ..build import build
from ..config.schema import load_schema
from ..errors import ConfigError, NotDefined
from ..objective.vlb import Vlb
from ..timestep.base import Timestep
from ..timestep.importance import Importance
from ..train import checkpoint
from ..train.signals import Stop
from ..train.trainer import Settings, Trainer
from .evaluate import opened, stem
from .measure import OnBatch, stage

AT_ONCE = 128  # terms in one network call
COLUMNS = ("variance", "variance_se", "signal", "signal_se", "loss_sd", "loss_sd_se")


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=gradients run=RUN_DIR_OR_CHECKPOINT: the table, printed and as bound/step_N-gradients.csv of that run."""
    lab, _, step, source = opened(config)
    T, pairs = lab.diffusion.schedule.T, config["task"]["pairs"]
    nfe = T if config["task"]["nfe"] is None else config["task"]["nfe"]
    if pairs < 2 or nfe < T:
        raise ConfigError(
            f"task.pairs={pairs} must be at least 2 and task.nfe={nfe} at least {T} (schedule.T), one whole chain."
        )
    rows = {}
    with Stop() as stop:
        for name, timestep in samplers(lab):
            with stage(name, stop, unit="nfe", transient=True) as on_batch:
                rows[name] = noise(lab, timestep, nfe, pairs, on_batch)
    path = checkpoint.run_of(source) / "bound" / f"{stem(step)}-gradients.csv"
    columns = {"sampler": np.array([*rows])} | {key: np.array([row[key] for row in rows.values()]) for key in COLUMNS}
    tables.save(path, columns)
    print(
        f"{table(rows, nfe, pairs, 'bits/dim' if lab.diffusion.space.identity else 'bits/dim of z')}\nfile {path}",
        flush=True,
    )
    return {"gradients": rows, "nfe": nfe, "step": step}


def samplers(lab: Laboratory) -> Iterator[tuple[str, Timestep]]:
    """Every timestep sampler with the values of its file; a whole chain with and without a path. One that learns from losses has
    first seen all it can keep."""
    for option, file in sorted(load_schema().options["timestep"].items()):
        node = {"name": file.name, **{key: value for key, value in file.values.items() if key != "name"}}
        variants = {option: node}
        if "markov" in node:
            node["chunk"] = min(AT_ONCE, lab.diffusion.schedule.T)
            variants = {
                f"{option}, {word}": node | {"markov": markov}
                for word, markov in (("a path", True), ("independent", False))
            }
        for name, values in variants.items():
            try:
                timestep: Timestep = build(
                    "timestep", values, process=lab.diffusion.process, schedule=lab.diffusion.schedule
                )
            except NotDefined:  # a path, in continuous time
                continue
            if isinstance(timestep, Importance):
                learn(lab, timestep)
            yield name, timestep


def learn(lab: Laboratory, timestep: Importance) -> None:
    """Fill its history: as many whole chains as it keeps losses of each t."""
    whole = build(
        "timestep",
        {"name": "full_chain", "chunk": min(AT_ONCE, timestep.T), "markov": False},
        process=lab.diffusion.process,
        schedule=lab.diffusion.schedule,
    )
    trainer = trainer_of(lab, whole, batch=timestep.losses.shape[1])
    trainer.step = 1 << 40  # its noise is nobody else's
    found = trainer.gradient()
    timestep.observe(found.t, found.losses)
    trainer.model.zero_grad(set_to_none=True)


def noise(lab: Laboratory, timestep: Timestep, nfe: int, pairs: int, on_batch: OnBatch) -> dict[str, float]:
    """COLUMNS, with `variance` and `signal` in squared units of the objective (bits/dim) per parameter's."""
    batch = nfe // sum(timestep.widths)
    trainer = trainer_of(lab, timestep, batch)
    found = []
    for pair in range(pairs):
        (g, a), (h, b) = (_gradient(trainer, 2 * pair + k) for k in (1, 2))
        found.append((float((g - h).square().sum() / 2), float(g @ h), (a - b) ** 2 / 2))
        on_batch((pair + 1) * 2 * nfe, pairs * 2 * nfe)
    values = torch.tensor(found, dtype=torch.float64)
    mean, se = values.mean(0).tolist(), (values.std(0) / math.sqrt(pairs)).tolist()
    sd = math.sqrt(mean[2])
    return dict(zip(COLUMNS, (mean[0], se[0], mean[1], se[1], sd, se[2] / (2 * sd) if sd else 0.0), strict=True))


def trainer_of(lab: Laboratory, timestep: Timestep, batch: int) -> Trainer:
    """One that computes gradients of the bound of `batch` examples, and takes no step."""
    rows = max(1, AT_ONCE // max(timestep.widths))
    settings = replace(
        Settings(**lab.config["trainer"]),
        batch_size=batch,
        accumulate=-(-batch // rows),
        precision="fp32",
        compile="never",
        workers=0,
    )
    objective = Vlb(lab.diffusion.decoder, lab.diffusion.schedule, lab.diffusion.process)
    return Trainer(
        lab.diffusion, objective, timestep, lab.optimizer, lab.data.train.x, lab.data.to_unit, settings, lab.config["seed"], lab.device, lab.data.train.label, lab.augmentation
    )  # fmt: skip


def _gradient(trainer: Trainer, step: int) -> tuple[Tensor, float]:
    """(gradient of a step, flat and float64 on the CPU; its estimate of the objective)."""
    trainer.step = step
    found = trainer.gradient()
    flat = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]).double().cpu()
    trainer.model.zero_grad(set_to_none=True)
    return flat, float((found.iw.to(found.losses) * found.losses).double().mean())


def table(rows: Mapping[str, Mapping[str, float]], nfe: int, pairs: int, unit: str = "bits/dim") -> str:
    """Text, the loss in `unit`; the gradient of the bound at these weights is the same for all, up to the error of its estimate."""
    best = min(row["variance"] for row in rows.values())
    lines = [
        f"{'gradient of the bound, ' + format(nfe, ',') + ' nfe each':34} {'variance':>12} {'std. error':>12} {'times best':>11} {f'sd of its loss ({unit})':>27}"
    ]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["variance"]):
        lines.append(
            f"{name:34} {row['variance']:12.4g} {row['variance_se']:12.2g} {row['variance'] / best:11.2f} {row['loss_sd']:20.4g} ± {row['loss_sd_se']:.1g}"
        )
    signal = {name: row["signal"] for name, row in rows.items()}
    quiet = min(rows, key=lambda name: rows[name]["signal_se"])
    lines.append(
        f"squared length of the gradient itself {signal[quiet]:.4g} ± {rows[quiet]['signal_se']:.2g}; {pairs} pairs each"
    )
    return "\n".join(lines)
