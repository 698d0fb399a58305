"""A W&B sweep without a server: every command that an agent would run is rendered as it does, and composed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml

from difflab.commandline import judge
from difflab.config.arguments import parse
from difflab.config.compose import composer
from difflab.config.schema import conf_directory, load_schema
from difflab.sweep import agent
from difflab.sweep.__main__ import main
from difflab.sweep.question import load, names


def rendered(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """As wandb's agent fills in a command."""
    command = []
    for word in sweep["command"]:
        if word == "${args_no_hyphens}":
            command += [f"{key}={value}" for key, value in values.items()]
        else:
            command.append({"${env}": "/usr/bin/env", "${interpreter}": "python"}.get(word, word))
    return command


def ends(parameter: dict[str, Any]) -> list[Any]:
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


@pytest.mark.parametrize("name", [name for name in names() if name != "how_many_evaluations"])
def test_every_command_of_every_question_composes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wandb", name, "tracker=none", *(["seed=0"] if load(name).seeds else [])]) == 0
    sweep = yaml.safe_load(capsys.readouterr().out)
    assert sweep["metric"] == {"name": "objective", "goal": "minimize"}  # what every run's summary has
    parameters = sweep["parameters"]
    combinations = [dict(zip(parameters, v)) for v in itertools.product(*(ends(p) for p in parameters.values()))]
    assert combinations
    for values in (combinations[0], combinations[-1]):  # each is one of the same list
        line = rendered(sweep, values)
        assert line[:4] == ["/usr/bin/env", "python", "-m", "difflab"]
        with composer(conf_directory(), load_schema()) as composing:
            plan = judge(parse(line[4:]), line[4:], composing)
        assert plan.task == "train" and not plan.multirun
        if "job" in values:
            assert plan.directory.name == values["job"] and "resume=auto" in plan.overrides
            assert "tracker=none" in plan.overrides


def test_a_search_keeps_its_ranges() -> None:
    assert agent._range({"low": 1e-4, "high": 1e-2, "log": True}) == {
        "distribution": "log_uniform_values",
        "min": 1e-4,
        "max": 1e-2,
    }
    assert agent._range({"low": 0, "high": 100, "step": 50}) == {
        "distribution": "q_uniform",
        "q": 50,
        "min": 0,
        "max": 100,
    }
    assert agent._range({"low": 1, "high": 9}) == {"distribution": "int_uniform", "min": 1, "max": 9}
    assert agent._range(["a", "b"]) == {"values": ["a", "b"]}
