"""Choices that exclude each other: the one table, with the reason and the remedy of each.

`Setting` holds what a rule may look at: the configuration and, where known, whether the data is continuous. Before torch
is imported that is known from the decoder that the data set's own YAML brings along; `difflab.assemble` knows it for sure
and asks again. (Choices that only a built object can judge, as a model and a shape it cannot take, are refused by its
constructor with the same NotDefined.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import NotDefined
from .schema import Schema


@dataclass(frozen=True)
class Setting:
    """A configuration, and whether its data is continuous (None: not known yet)."""

    config: Mapping[str, Any]
    continuous: bool | None = None

    def name(self, group: str) -> str:
        return str(self.config[group]["name"])

    @property
    def endless(self) -> bool:
        """Continuous time."""
        return self.config["schedule"].get("T") == "inf"

    @property
    def itself(self) -> bool:
        """Whether the chain runs over the data itself."""
        return self.name("space") == "identity"

    def clips(self, key: str) -> bool:
        return bool(self.config[key].get("clip_x0"))

    def guided(self, key: str) -> bool:
        return self.config[key].get("guidance", 1) != 1


@dataclass(frozen=True)
class Pair:
    """Two choices that cannot stand together, and one sentence that says why and what to choose instead."""

    keys: tuple[str, str]
    refused: Callable[[Setting], bool]
    sentence: str


def unbounded(run: Setting) -> bool:
    """No term of the bound is in the loss."""
    return run.name("objective") == "simple" or run.config["objective"].get("vlb_weight") == 0


TABLE = (
    Pair(
        ("objective", "variance"),
        lambda run: run.name("objective") == "simple" and run.name("variance").startswith("learned_"),
        "objective=simple gives variance={variance} no gradient; set objective=hybrid, or variance=fixed_beta.",
    ),
    Pair(
        ("objective", "variance"),
        lambda run: run.config["objective"].get("vlb_weight") == 0 and run.name("variance").startswith("learned_"),
        "objective={objective} with objective.vlb_weight=0 gives variance={variance} no gradient; set objective.vlb_weight=0.001, or variance=fixed_beta.",
    ),
    Pair(
        ("objective", "decoder"),
        lambda run: unbounded(run) and run.name("decoder").startswith("learned_"),
        "objective={objective} without the bound's terms gives decoder={decoder} no gradient; set objective=hybrid, objective.vlb_weight=0.001, or "
        "decoder=discretized_gaussian (gaussian for continuous data).",
    ),
    Pair(
        ("objective", "schedule"),
        lambda run: run.name("objective") != "vlb" and run.name("schedule") == "learned",
        "schedule=learned minimises the bound, and would only make objective={objective} easy; set objective=vlb, or schedule=cosine.",
    ),
    Pair(
        ("parameterization", "schedule.zero_terminal"),
        lambda run: run.name("parameterization") == "eps" and run.config["schedule"].get("zero_terminal") is True,
        "schedule.zero_terminal=true leaves no signal at t = T, and from parameterization=eps no x_0 follows there; set parameterization=v.",
    ),
    Pair(
        ("process", "schedule.T"),
        lambda run: run.endless and run.name("process") != "gaussian",
        "schedule.T=inf is continuous time of process=gaussian, and process={process} steps between states; give schedule.T a number.",
    ),
    Pair(
        ("parameterization", "schedule.T"),
        lambda run: run.endless and run.name("parameterization") == "mu",
        "schedule.T=inf has no step whose mean parameterization=mu could predict; set parameterization=v.",
    ),
    Pair(
        ("variance", "schedule.T"),
        lambda run: (
            run.endless and not run.name("variance").startswith("fixed_")
        ),  # any other says something of instants
        "schedule.T=inf has no reverse variance, and variance={variance} would be fitted to L_0 alone; set variance=fixed_beta.",
    ),
    Pair(
        ("timestep.markov", "schedule.T"),
        lambda run: run.endless and run.config["timestep"].get("markov") is True,
        "timestep.markov=true follows a path from level to level of a chain, and schedule.T=inf draws its levels anew; set timestep.markov=false.",
    ),
    Pair(
        ("process", "data"),
        lambda run: run.name("decoder") == "states" and run.continuous is True,
        "process={process} and decoder={decoder} are of states and data={data} is continuous; set process=gaussian, or data with levels.",
    ),
    Pair(
        ("process", "space"),
        lambda run: run.name("process") != "gaussian" and not run.itself,
        "process={process} is one between states and the z of space={space} is continuous; set space=identity, or process=gaussian.",
    ),
    Pair(
        ("sampler", "space"),
        lambda run: "conditioned" in (run.name("sampler"), run.name("preview")) and not run.itself,
        "sampler=conditioned is given values of the data and the chain of space={space} has none; set sampler=ancestral, or space=identity.",
    ),
    Pair(
        ("decoder", "space"),
        lambda run: run.name("decoder") not in ("gaussian", "learned_gaussian") and not run.itself,
        "decoder={decoder} is a probability of grey levels and the z of space={space} is continuous; set decoder=gaussian.",
    ),
    Pair(
        ("bound.clip_x0", "space"),
        lambda run: run.clips("bound") and not run.itself,
        "bound.clip_x0=true needs a range to clip to and the z of space={space} has none; set bound.clip_x0=false.",
    ),
    Pair(
        ("validation.clip_x0", "space"),
        lambda run: run.clips("validation") and not run.itself,
        "validation.clip_x0=true needs a range to clip to and the z of space={space} has none; set validation.clip_x0=false.",
    ),
    Pair(
        ("decoder", "data"),
        lambda run: run.name("decoder") not in ("gaussian", "learned_gaussian") and run.continuous is True,
        "decoder={decoder} is a probability of grey levels and data={data} is continuous; set decoder=gaussian.",
    ),
    Pair(
        ("decoder", "data"),
        lambda run: run.name("decoder") == "gaussian" and run.continuous is False and run.itself,
        "decoder=gaussian is a density and data={data} has grey levels, so its bits would compare with nothing; set decoder=discretized_gaussian.",
    ),
    Pair(
        ("bound.clip_x0", "data"),
        lambda run: run.clips("bound") and run.continuous is True,
        "bound.clip_x0=true needs data with a range to clip to and data={data} has none; set bound.clip_x0=false.",
    ),
    Pair(
        ("validation.clip_x0", "data"),
        lambda run: run.clips("validation") and run.continuous is True,
        "validation.clip_x0=true needs data with a range to clip to and data={data} has none; set validation.clip_x0=false.",
    ),
    Pair(
        ("trainer.label_dropout", "model.num_classes"),
        lambda run: (
            run.config["trainer"].get("label_dropout", 0) != 0 and run.config["model"].get("num_classes") is None
        ),
        "trainer.label_dropout hides labels that the network is not told; set trainer.label_dropout=0.0, or model.num_classes=auto.",
    ),
    *(
        Pair(
            (f"{key}.guidance", "model.num_classes"),
            lambda run, key=key: run.guided(key) and run.config["model"].get("num_classes") is None,
            f"{key}.guidance leads from the prediction without a label towards the one with it, and the network is told none; set "
            f"{key}.guidance=1.0, or train with model.num_classes=auto trainer.label_dropout=0.1.",
        )
        for key in ("sampler", "preview")
    ),
    *(
        Pair(
            (f"{key}.guidance", "trainer.label_dropout"),
            lambda run, key=key: run.guided(key) and run.config["trainer"].get("label_dropout", 0) == 0,
            f"{key}.guidance asks for the prediction without a label, and with trainer.label_dropout=0.0 the network is never taught one; set "
            f"{key}.guidance=1.0, or train with trainer.label_dropout=0.1.",
        )
        for key in ("sampler", "preview")
    ),
    Pair(
        ("sampler", "process"),
        lambda run: "conditioned" in (run.name("sampler"), run.name("preview")) and run.name("process") != "gaussian",
        "sampler=conditioned multiplies Gaussians and process={process} has none; set sampler=ancestral and sampler@preview=ancestral.",
    ),
)


def check_pairs(config: Mapping[str, Any], continuous: bool | None = None) -> None:
    """NotDefined with the sentence of the first refused pair."""
    setting = Setting(config, continuous)
    for pair in TABLE:
        if pair.refused(setting):
            names = {
                group: node["name"] for group, node in config.items() if isinstance(node, Mapping) and "name" in node
            }
            raise NotDefined(pair.sentence.format_map(names))


def continuous_by_file(config: Mapping[str, Any], choice: str | None, schema: Schema) -> bool | None:
    """Whether the data is continuous, from the decoder its YAML names; None if no file tells (a plugin, a foreign option)."""
    option = schema.options["data"].get(choice or "")
    if option is None:
        options = [o for o in schema.options["data"].values() if o.name == config["data"].get("name")]
        option = options[0] if options else None
    return None if option is None else option.suits.get("decoder") == "gaussian"
