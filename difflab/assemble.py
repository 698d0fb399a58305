"""Everything a configuration describes, built in the order in which the parts need each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

from . import ranks
from .augmentation.base import Augmentation
from .bound.base import Design
from .bound.chain import check_optimal
from .bound.estimator import Examples
from .build import build
from .config.inherit import check_same
from .config.pairs import check_pairs
from .data._deferred import Deferred, other_split
from .data.base import Data, Split
from .diffusion import Diffusion, adopt
from .errors import ConfigError, NotDefined, check_seed
from .objective.base import Objective
from .optimizer.base import Optimizer
from .parameterization.base import check_recovers
from .precision import in_precision, resolve
from .process.base import Process
from .sampler.base import Sampler
from .schedule._continuous import scheduled
from .space.base import Space
from .timestep.base import Timestep
from .train import checkpoint

CHAIN = ("process", "schedule", "parameterization", "variance", "decoder")


@dataclass(frozen=True)
class Laboratory:
    """One run's parts; see conf/config.yaml for the groups they come from."""

    config: Mapping[str, Any]
    device: torch.device
    data: Data
    diffusion: Diffusion
    objective: Objective
    timestep: Timestep
    augmentation: Augmentation
    optimizer: Optimizer
    sampler: Sampler
    preview: Sampler
    bound: Design
    validation: Design
    fit: Design
    precision: Mapping[str, str]  # {evaluate, sample}: fp32 or bf16
    classes: int = 0  # whose labels the network is told; 0: none, the bound is that of p(x)

    @property
    def model(self) -> Module:
        assert isinstance(self.diffusion.model, Module)
        return self.diffusion.model

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the chain's x_0: of the data, or of z."""
        return self.diffusion.space.shape_of(self.data.shape)

    @property
    def levels(self) -> int | None:
        """Of the chain's x_0."""
        return self.diffusion.space.levels_of(self.data.levels)

    def examples(self, split: Split) -> Examples:
        """A split for the evaluators, which turn it into the model's units batch by batch."""
        return Examples(split.x, split.index, self.data.to_unit, split.label)

    def computing(self, diffusion: Diffusion, use: str) -> Diffusion:
        """The diffusion, its network in the precision of a `use`: evaluate or sample."""
        return replace(diffusion, model=in_precision(diffusion.model, self.precision[use], self.device))

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        return self.data.fingerprint

    def check_same(self, state: Mapping[str, Any], source: Path) -> None:
        """ConfigError unless this is what a checkpoint was trained as, and on."""
        check_same(state["design"], source, self.config)
        if name := other_split(self.fingerprint, state["data"]):
            raise ConfigError(
                f"data={self.config['data']['name']}: the {name} examples are others than those of {source}; give those (data.root), or "
                f"start a new run from its weights with init={source}."
            )

    def at(self, path: Path) -> tuple[Diffusion, int]:
        """(the diffusion with a checkpoint's EMA weights, its step). `path`: a run directory or a checkpoint in it."""
        source = checkpoint.latest(path)
        return self.holding(checkpoint.load(source), source)

    def holding(self, state: Mapping[str, Any], source: Path, weights: str = "ema") -> tuple[Diffusion, int]:
        """The same of a checkpoint's `state`, with its "ema" or "model" weights."""
        self.check_same(state, source)
        load_weights(self.model, state[weights], source)
        if not self.diffusion.space.ready:
            raise ConfigError(
                f"{source} was saved before its space had learned what it must know; go on with that run first: resume={checkpoint.run_of(source)}."
            )
        return replace(self.diffusion, model=self.model.eval()), int(state["step"])


def assemble(config: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Laboratory:
    """Build a run's parts. Raises ConfigError for ranges and pairs that only the parts themselves can judge. `known`: of an
    export, the facts of its data, which are read only if their examples are asked for."""
    device = choose_device(config["device"])
    check_seed("seed", config["seed"])
    torch.manual_seed(config["seed"])
    data: Data = Deferred(known, lambda: build("data", config["data"])) if known else build("data", config["data"])
    check_pairs(config, continuous=data.levels is None)
    context: dict[str, Any] = {"shape": data.shape, "levels": data.levels, "seed": config["seed"], "device": device}
    augmentation: Augmentation = build("augmentation", config["augmentation"], **context)
    space: Space = build("space", config["space"], **context)
    context |= {"shape": space.shape_of(data.shape), "levels": space.levels_of(data.levels)}  # of the chain's x_0
    context["process"] = build("process", config["process"], **context)
    context["schedule"] = scheduled(config["schedule"], config["strata"], **context)
    for group in ("decoder", "parameterization", "variance"):
        context[group] = build(group, config[group], **context)
    check_serve(config, context["process"].family, {group: context[group] for group in CHAIN})
    check_recovers(str(config["parameterization"]["name"]), context["parameterization"], context["schedule"])
    process: Process = context["process"]
    process.check(context["schedule"])
    context["heads"] = context["variance"].heads
    node = with_classes(config["model"], data, str(config["data"]["name"]))
    shape, levels = process.seen_as(context["shape"], context["levels"])
    model = build("model", node, **context | {"shape": shape, "levels": levels})
    chain = {group: context[group] for group in CHAIN}
    chain["space"] = space
    adopt(model, chain)
    diffusion = Diffusion(model=model.to(device), **chain)
    parts = {
        "objective": build("objective", config["objective"], **context),
        "timestep": build("timestep", config["timestep"], **context),
        "augmentation": augmentation,
        "optimizer": build("optimizer", config["optimizer"]),
    }
    check_serve(config, process.family, parts)
    parts |= instruments(config, diffusion, device) | {"classes": node.get("num_classes") or 0}
    return Laboratory(config=config, device=device, data=data, diffusion=diffusion, **parts)


def instruments(config: Mapping[str, Any], diffusion: Diffusion, device: torch.device) -> dict[str, Any]:
    """The parts of a laboratory that look at a model and do not belong to it: samplers, designs, precision."""
    parts = {
        "sampler": build("sampler", config["sampler"]),
        "preview": build("sampler", config["preview"], under="preview"),
        "bound": build("bound", config["bound"]),
        "validation": build("bound", config["validation"], under="validation"),
        "fit": build("bound", config["fit"], under="fit"),
        "precision": {use: resolve(f"precision.{use}", name, device) for use, name in config["precision"].items()},
    }
    process, schedule = diffusion.process, diffusion.schedule
    check_chains(config["chains"])
    check_serve(config, process.family, parts)
    for key in ("bound", "validation"):
        if parts[key].clip_x0 and not diffusion.decoder.clips:
            raise NotDefined(
                f"{key}.clip_x0=true needs a mean within a range to clip to, and there is none; leave it out."
            )
    for key in ("sampler", "preview"):
        sampler = parts[key]
        if sampler.optimal and not diffusion.priced:
            whose = "schedule.T=inf" if process.priced else f"process={config['process']['name']}"
            raise NotDefined(
                f"{key}.steps={config[key]['steps']}: no jump of {whose} has a price before it is evaluated; give a number."
            )
        if sampler.optimal:
            check_optimal(schedule.T, sampler.length(schedule))
    return parts


def check_serve(config: Mapping[str, Any], family: str, parts: Mapping[str, Any]) -> None:
    """NotDefined for a part that is none of the process's family."""
    for key, part in parts.items():
        if family not in getattr(part, "serves", (family,)):
            name, process = config[key]["name"], config["process"]["name"]
            raise NotDefined(
                f"{key}={name} is nothing for process={process}; leave it out, and what suits that process is taken (conf/process/{process}.yaml)."
            )


def with_classes(node: Mapping[str, Any], data: Data, name: str) -> Mapping[str, Any]:
    """A model's node with the number of the data's classes in the place of num_classes=auto. NotDefined where they have no
    labels, ConfigError for another number."""
    if (wanted := node.get("num_classes")) is None:
        return node
    if data.classes < 2:
        raise NotDefined(
            f"model.num_classes={wanted} tells the network each example's label and data={name} has none; set model.num_classes=null."
        )
    if wanted not in ("auto", data.classes):
        raise ConfigError(
            f"model.num_classes={wanted}: data={name} has {data.classes} classes; set model.num_classes=auto, or null for none."
        )
    return {**node, "num_classes": data.classes}


def check_chains(chains: Mapping[str, Any]) -> None:
    """ConfigError for chains that cannot be evaluated; those longer than T are left out."""
    if chains["examples"] < 1:
        raise ConfigError(
            f"chains.examples={chains['examples']} must be at least 1; chains.verify=[] evaluates no chains."
        )
    if short := [steps for steps in chains["verify"] if steps < 2]:
        raise ConfigError(f"chains.verify holds {short[0]}: a chain keeps t = 1 and t = T, so it has at least 2 steps.")


def choose_device(name: str) -> torch.device:
    """auto: the GPU if there is one. ConfigError if the named device is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda:") and ranks.current().world > 1:
        raise ConfigError(f"device={name} is one GPU, and each process of torchrun takes its own: give device=cuda.")
    if name == "cuda" and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())  # of several ranks, each has its own
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        # the meter and the noise are float64; a number that can be read back, which device=meta has none of
        float(torch.zeros(1, device=device, dtype=torch.float64))
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(f"device={name} cannot be used here; set device=cpu or device=auto.") from error
    return device


def load_weights(model: Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Load a flat dict of tensors; ConfigError says what differs."""
    own = model.state_dict()
    different = sorted(set(own) ^ set(weights)) + [n for n in own if n in weights and own[n].shape != weights[n].shape]
    if different:
        raise ConfigError(
            f"the weights in {path} are another network's (first difference: {different[0]}); give the model, variance and data they were trained with."
        )
    model.load_state_dict(weights)
