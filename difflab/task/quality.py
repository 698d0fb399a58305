"""How near a checkpoint's samples are to held-out data: the other axis, beside its bits.

The samples of a run are a function of its weights, the sampler and their number alone; they are kept, so that a measurement
that was interrupted, or one with other features, goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..assemble import Laboratory
from ..build import build
from ..data.base import Stored
from ..diffusion import Diffusion
from ..errors import ConfigError
from ..features.base import Features
from ..figure.quality import measures
from ..files import UNREADABLE, write_atomically
from ..mapping.record import weights
from ..quality.frechet import check_installed, frechet
from ..quality.manifold import least, manifold
from ..quality.record import FOLDER, MANIFOLD, digest, save
from ..sampler.base import Sampler
from ..train import checkpoint
from ..train.signals import Stop
from .evaluate import finite, opened, say, stem
from .measure import OnBatch, stage, training_fit
from .sample import chain_of, draw

BLOCK = 2000  # stored examples that are read at a time
NOISE_SEED = 1 << 40  # of the first batch, fixed: far from the grids' own, whose samples are others


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=quality run=RUN_DIR_OR_CHECKPOINT [sampler...] [features...]: into that run's quality/ and figures/."""
    lab, diffusion, step, source = opened(config)
    task = check(config, lab.sampler)
    sets = {
        "samples": task["count"],
        "test examples": len(lab.data.test),
        "validation examples": min(task["count"], len(lab.data.val)),
    }
    check_enough(task, sets)
    check_installed()
    features: Features = build("features", config["features"], data=lab.data)
    home, name = checkpoint.run_of(source), str(config["features"]["name"])
    with Stop() as stop:
        with stage(f"features={name}", stop, unit=features.unit, transient=True) as on_batch:
            features.prepare(lab.device, on_batch)
        say(f"features: {features.describe()}")
        chain = None
        if lab.sampler.optimal:
            measured = lab.computing(diffusion, "evaluate")
            chain = chain_of(training_fit(lab, measured, step, home / "bound", stop)[0], lab.sampler)
        steps = lab.sampler.length(lab.diffusion.schedule)
        say(f"{task['count']:,} samples of {steps:,} steps: {task['count'] * steps:,} network evaluations")
        folder = home / FOLDER / f"samples-{drawn_by(lab, source, task)}"
        try:
            with stage("sampling", stop, unit="nfe") as on_nfe:
                collected = sampled(lab, diffusion, task, folder, chain, on_nfe)
        except SystemExit:
            say(f"stopped; the samples that are whole are kept in {folder}, and the same command goes on from there")
            raise
        with stage("comparing", stop, unit="part", transient=True) as on_part:
            found = compared(lab, features, collected, task, on_part)
    node = {key: value for key, value in lab.config["sampler"].items() if key != "count"}
    design = {
        "key": features.key, "features_sha256": features.fingerprint, "split": lab.data.test.name,
        "split_sha256": lab.data.test.sha256, "sampler": node, **{key: task[key] for key in ("count", "batch_size", "k", "groups")},
    }  # fmt: skip
    record = finite({
        "key": features.key, **found, "features": name, "features_sha256": features.fingerprint, **features.facts,
        "samples": task["count"], "split": lab.data.test.name, "reference": len(lab.data.test), "steps": steps,
        "nfe": task["count"] * steps, "sampler": lab.config["sampler"]["name"], "k": task["k"], "groups": task["groups"],
        "step": step, "weights": weights(source), "design": design,
    })  # fmt: skip
    path = home / FOLDER / f"{stem(step)}-{record['sampler']}-{steps}-{name}-{digest(design)[:4]}"
    save(path, record)
    picture = measures(record, home / "figures" / f"quality-{path.name}.png", title=home.name)
    print(f"{table(record, features)}\nfigure {picture}\nfiles  {path}*", flush=True)
    return record | {"files": str(path)}


def check(config: Mapping[str, Any], sampler: Sampler) -> Mapping[str, Any]:
    """The task's values; ConfigError for those that no figure follows from."""
    task = config["task"]
    for key, smallest in (("count", 2), ("batch_size", 1), ("k", 1), ("groups", 2)):
        if task[key] < smallest:
            raise ConfigError(f"task.{key}={task[key]} must be at least {smallest}.")
    if not sampler.free:
        raise ConfigError(
            f"sampler={config['sampler']['name']} completes given examples, and quality is that of samples from nothing; set sampler=ancestral."
        )
    return task


def check_enough(task: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """ConfigError where a set is too small for its groups and neighbours."""
    for what, size in sizes.items():
        if least(size, task["groups"]) < task["k"] or size < 2 * task["groups"]:
            raise ConfigError(
                f"task.groups={task['groups']} and task.k={task['k']} are too many for {size} {what}: a group must hold two, and any two "
                "that are left out must leave each of the others k neighbours; give fewer, or a larger task.count."
            )


def drawn_by(lab: Laboratory, source: Path, task: Mapping[str, Any]) -> str:
    """Names all that a run's samples follow from, but their number: the first ones are the same whatever it is."""
    sampler = {key: value for key, value in lab.config["sampler"].items() if key != "count"}
    precision = lab.precision["sample"], lab.precision["evaluate"] if lab.sampler.optimal else None
    return digest([weights(source), sampler, task["batch_size"], precision, lab.config["fit"], lab.device.type])[:12]


def sampled(
    lab: Laboratory,
    diffusion: Diffusion,
    task: Mapping[str, Any],
    folder: Path,
    chain: Callable[[int], Tensor] | None,
    on_nfe: OnBatch,
) -> list[Path]:
    """Files of `batch_size` samples each, drawn where they are missing; with levels as the data store them, rounded to the
    nearest. FloatingPointError for samples that are not finite."""
    size, steps = task["batch_size"], lab.sampler.length(lab.diffusion.schedule)
    files = [folder / f"{number:06d}.npy" for number in range(math.ceil(task["count"] / size))]
    batch = copy(lab.sampler)
    batch.count = size
    total = len(files) * size * steps
    for number, path in enumerate(files):
        before = number * size * steps
        if not whole(path, (size, *lab.data.shape)):

            def on_step(done: int, of: int, before: int = before) -> None:
                on_nfe(before + done * size, total)

            label = labels(lab, number * size, size) if lab.classes else None
            x = draw(lab, diffusion, batch, chain, on_step, NOISE_SEED + number, label)
            if not bool(x.isfinite().all()):
                raise FloatingPointError(
                    "task=quality: some samples are not finite numbers, so there is no distance; draw them with another sampler (sampler=ddim), or "
                    "train the run longer."
                )
            stored = (x if lab.data.levels is None else lab.data.from_unit(x)).numpy()
            write_atomically(path, lambda file, stored=stored: np.save(file, stored), binary=True)
    return files


def whole(path: Path, shape: tuple[int, ...]) -> bool:
    try:
        return np.load(path, mmap_mode="r").shape == shape
    except UNREADABLE:
        return False


def labels(lab: Laboratory, first: int, count: int) -> Tensor:
    """Of samples first..first + count - 1, int64: those of the training split, in an order of its own, again and again, so that
    every class is as frequent among many samples as in the data."""
    label = lab.data.train.label
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(NOISE_SEED))
    return label[order[torch.arange(first, first + count) % len(label)]]


def compared(
    lab: Laboratory, features: Features, files: list[Path], task: Mapping[str, Any], on_part: OnBatch
) -> dict[str, Any]:
    """The measures of the samples and, as held_out, of validation examples in their place: what no sampler need beat."""
    data, count, groups = lab.data, task["count"], task["groups"]
    test, val = reduced(features, data.test.x), reduced(features, data.val.x[:count])
    samples = torch.cat([features(data.to_unit(torch.from_numpy(np.load(path)))) for path in files])[:count]
    result: dict[str, Any] = {"width": samples.shape[1]}
    for part, (side, x) in enumerate(((result, samples), (dict[str, Any](), val))):
        n = min(len(x), len(test))

        def each(done: int, total: int, part: int = part) -> None:
            on_part(part * 1000 + done * 1000 // total, 2000)

        side |= frechet(x, test, groups, each).flat(features.key, corrected=True)
        for key, estimate in manifold(x[:n], test[:n], task["k"], groups, on_batch=each).items():
            side |= estimate.flat(key)
        side |= {"examples": len(x), "manifold_examples": n}
        if side is not result:
            result["held_out"] = side
    return result


def reduced(features: Features, x: Stored) -> Tensor:
    """Features of stored examples, a few at a time."""
    return torch.cat([features(features.data.to_unit(part)) for part in x.split(BLOCK)])


def table(record: Mapping[str, Any], features: Features) -> str:
    """Text; the second column is what held-out examples score in the samples' place."""
    held, key = record["held_out"], record["key"]
    lines = [
        f"{record['samples']:,} samples, {record['sampler']} in {record['steps']:,} steps ({record['nfe']:,} network evaluations), against "
        f"{record['reference']:,} {record['split']} examples",
        f"features: {features.describe()}",
        "",
        f"{'':44}{'samples':>19}  {'held-out examples':>19}",
    ]

    def line(name: str, field: str, suffix: str = "") -> str:
        cells = [f"{side[field + suffix]:.4g} ± {side[field + '_se']:.2g}" for side in (record, held)]
        return f"{name:44}{cells[0]:>19}  {cells[1]:>19}"

    lines += [
        f"{features.title}",
        line(f"  at {record['samples']:,} and {held['examples']:,} of them", key),
        line("  at endless many of both (bias removed)", key, "_corrected"),
        f"k = {record['k']} nearest neighbours, {record['manifold_examples']:,} and {held['manifold_examples']:,} of both",
        *(line(f"  {name}", name) for name in MANIFOLD),
    ]
    width = record["width"]
    if record["reference"] < width or record["samples"] < width:
        lines.append(
            f"fewer examples than the {width:,} features: the distance is mostly bias, and no correction mends that"
        )
    return "\n".join(lines)
