"""The checks of a configuration that need no torch, on configurations as plain dictionaries."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from difflab.config.check import check, unknown_key, worded
from difflab.config.compose import composer, plain, quoted
from difflab.config.directory import prepare
from difflab.config.pairs import TABLE, check_pairs, continuous_by_file
from difflab.config.safety import check_safety
from difflab.config.schema import conf_directory, load_schema, read_fields
from difflab.errors import ConfigError, NotDefined

SCHEMA = load_schema()


@pytest.fixture(scope="module")
def default() -> dict[str, Any]:
    with composer(conf_directory(), SCHEMA) as composing:
        return plain(composing.compose([]))


def changed(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    OmegaConf.update(wrapped := OmegaConf.create(config), path, value, force_add=True)
    result = OmegaConf.to_container(wrapped)
    assert isinstance(result, dict)
    return {str(k): v for k, v in result.items()}


def test_the_default_configuration_passes_unchanged(default: dict[str, Any]) -> None:
    assert check(default, SCHEMA) == default


def test_a_whole_number_becomes_a_float_where_floats_are_meant(default: dict[str, Any]) -> None:
    value = check(changed(default, "optimizer.lr", 1), SCHEMA)["optimizer"]["lr"]
    assert (value, type(value)) == (1.0, float)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("schedule.T", "abc", "schedule.T=abc must be a whole number"),
        ("schedule.T", 10.5, "schedule.T=10.5 must be a whole number"),
        ("schedule.T", True, "schedule.T=true must be a whole number"),
        ("schedule.T", None, "schedule.T needs a value"),
        ("schedule.T", "", "schedule.T is empty"),
        ("schedule.T", [10], "must be a whole number"),
        ("schedule.T", "infinite", "schedule.T=infinite must be a whole number or inf"),
        ("schedule.T", float("-inf"), "finite"),
        ("schedule.s", float("nan"), "finite"),
        ("schedule.s", float("inf"), "finite"),
        ("optimizer.betas", [0.9, "x"], "optimizer.betas[1]=x must be a number"),
        ("trainer.grad_clip", "None", "type trainer.grad_clip=null"),
        ("run", "None", "type run=null"),
        ("run", 3, "as text it is written"),
        ("schedule.typo", 1, "no key schedule.typo"),
        ("checkpoint.evry", 1, "checkpoint.evry"),
        ("typo", 1, "no key typo"),
        ("schedule.name", "cosin", "did you mean cosine?"),
        ("bound.method", "exhaust", "bound.method=exhaust is no variant of bound"),
        ("schedule", 3, "schedule=3 must be one of the options"),
        ("schedule.name", "linear", "no key schedule.s with schedule=linear"),
        ("schedule.name", "os.path", "outside the registry"),
        ("schedule.name", "difflab.cli.os", "outside the registry"),
        ("plugins", ["os"], "stands in a file"),
    ],
)
def test_what_no_file_shows_is_refused(default: dict[str, Any], path: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(changed(default, path, value), SCHEMA)
    message = str(refused.value)
    assert says in message
    assert path.split(".")[0] in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [None, 2.5])
def test_null_is_allowed_where_the_comment_says_so(default: dict[str, Any], value: Any) -> None:
    assert check(changed(default, "trainer.grad_clip", value), SCHEMA)["trainer"]["grad_clip"] == value


@pytest.mark.parametrize("value", ["inf", float("inf")])
def test_the_word_inf_is_text_however_it_is_read(default: dict[str, Any], value: Any) -> None:
    assert check(changed(default, "schedule.T", value), SCHEMA)["schedule"]["T"] == "inf"
    assert worded({"schedule": {"T": value, "s": 0.5}, "runs": [1]}) == {
        "schedule": {"T": "inf", "s": 0.5},
        "runs": [1],
    }


def test_a_missing_key_is_named(default: dict[str, Any]) -> None:
    config = copy.deepcopy(default)
    del config["schedule"]["T"]
    with pytest.raises(ConfigError, match=r"schedule\.T is missing"):
        check(config, SCHEMA)


def test_a_plugin_that_was_typed_may_be_named(default: dict[str, Any]) -> None:
    config = changed(changed(default, "schedule", {}), "schedule", {"name": "mine.schedule", "anything": 1})
    config["schedule"] = {"name": "mine.schedule", "anything": 1}
    assert check(config, SCHEMA, ("mine",))["schedule"]["anything"] == 1
    with pytest.raises(ConfigError, match="outside the registry"):
        check(config, SCHEMA, ("min", "mine.schedule"))


@pytest.mark.parametrize(
    ("path", "near"),
    [("steps", "trainer.steps"), ("trainer.stpes", "trainer.steps"), ("scheduel", "schedule"), ("lr", "optimizer.lr")],
)
def test_the_nearest_key_is_suggested(path: str, near: str) -> None:
    assert near in unknown_key(path, SCHEMA)


def test_types_are_read_from_values_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "a: 1  # (null: none)\nb: null  # int or str: a thing\nc: [1.0]\nd:\n  e: true  # yes\n"
        "f: null  # list of str: names\ng: '#: int'  # text # more\n"
    )
    fields = read_fields(path)
    assert (fields["a"].kinds, fields["a"].null) == ({"int"}, True)
    assert (fields["b"].kinds, fields["b"].null) == ({"int", "str"}, True)
    assert (fields["c"].kinds, fields["c"].items, fields["c"].null) == ({"list"}, {"float"}, False)
    assert fields["d"].fields["e"].kinds == {"bool"}
    assert (fields["f"].kinds, fields["f"].items) == ({"list"}, {"str"})
    assert fields["g"].kinds == {"str"}


# -- refused pairs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["objective=simple"], "gives variance=learned_range no gradient"),
        (["objective=simple", "variance=learned_diagonal"], "gives variance=learned_diagonal no gradient"),
        (
            ["objective=sigmoid", "objective.vlb_weight=0"],
            "objective.vlb_weight=0 gives variance=learned_range no gradient",
        ),
        (["data=swiss_roll", "decoder=discretized_gaussian"], "data=swiss_roll is continuous"),
        (["data=swiss_roll", "decoder=categorical"], "data=swiss_roll is continuous"),
        (["decoder=gaussian"], "data=digits has grey levels"),
        (["space=whiten", "decoder=discretized_gaussian"], "the z of space=whiten is continuous; set decoder=gaussian"),
        (
            ["space=whiten", "bound.clip_x0=true"],
            "bound.clip_x0=true needs a range to clip to and the z of space=whiten",
        ),
        (["space=whiten", "validation.clip_x0=true"], "validation.clip_x0=true needs a range to clip to and the z"),
        (["data=gaussian", "bound.clip_x0=true"], "bound.clip_x0=true needs data with a range"),
        (["data=gaussian", "validation.clip_x0=true"], "validation.clip_x0=true needs data with a range"),
    ],
)
def test_each_refused_pair_says_why(overrides: list[str], says: str) -> None:
    with composer(conf_directory(), SCHEMA) as composing:
        cfg = composing.compose(overrides)
    config = check(plain(cfg), SCHEMA)
    with pytest.raises(NotDefined) as refused:
        check_pairs(config, continuous_by_file(config, cfg.hydra.runtime.choices.data, SCHEMA))
    assert says in str(refused.value)
    assert "set " in str(refused.value)


def test_every_row_of_the_table_names_keys_that_exist() -> None:
    known = set(SCHEMA.paths())
    assert {key for pair in TABLE for key in pair.keys} <= known


def test_pairs_outside_the_table_pass(default: dict[str, Any]) -> None:
    check_pairs(default, continuous=False)
    check_pairs(default, continuous=None)


# -- nothing runs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "evil",
    [
        {"data": {"_target_": "os.system"}},
        {"data": {"deep": [{"_target_": "os.system"}]}},
        {"hydra": {"callbacks": {"x": {"_target_": "os.system"}}}},
        {"hydra": {"callbacks": "${data}"}},
        {"hydra": {"launcher": {"_target_": "os.system"}}},
        {"hydra": {"launcher": {"_target_": "difflab.cli.os.system"}}},
        {"hydra": {"launcher": {"_target_": "${x}"}}},
        {"hydra": {"sweeper": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}}},
        {"hydra": {"sweeper": {"nested": {"_target_": "optuna.samplers.TPESampler"}}}},
        {"hydra": {"sweeper": {"custom_search_space": "os.system"}}},
        {"hydra": {"job_logging": {"handlers": {"x": {"class": "os.system"}}}}},
        {"hydra": {"job_logging": {"handlers": {"x": {"()": "os.system"}}}}},
        {"hydra": {"job_logging": {"handlers": {"x": {"class": "${run}"}}}}},
        {"hydra": {"job_logging": {"handlers": {"x": {"stream": "ext://os.environ"}}}}},
        {"hydra": {"job_logging": {"handlers": {"file": {"filename": "/somewhere/else"}}}}},
        {"hydra": {"hydra_logging": {"formatters": {"x": {"()": "os.system"}}}}},
        {"hydra": {"hydra_logging": "${data}"}},
        {"hydra": {"callbacks": {"x": "${oc.create:{a:1}}"}}},
        {"data": {"x": "${oc.decode:abc}"}},
        {"data": {"x": "${${y}:abc}"}},
    ],
)
def test_what_could_run_code_is_refused(evil: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="refused"):
        check_safety(evil)


@pytest.mark.parametrize("logging", ["difflab", "default", "stdout", "disabled", "none"])
def test_what_hydra_ships_passes(logging: str) -> None:
    with composer(conf_directory(), SCHEMA) as composing:
        cfg = composing.compose([f"hydra/job_logging={logging}"])
    whole = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(whole, dict)
    check_safety({str(k): v for k, v in whole.items()})


# -- overrides and directories ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["a b", "it's", 'say "x"', "back\\slash\\", "${x}", "\\${x}", "a=b,c", "[x]", "{", "null", "1", "true", "", "ü ☃", "'", "~/x",
     None, True, 3, 1.5e-7, [1, "a b", None], {"k": "v"}, []],
)  # fmt: skip
def test_a_quoted_value_survives_hydra(value: Any) -> None:
    parsed = OverridesParser.create().parse_override(f"key={quoted(value)}").value()
    config = OmegaConf.to_container(OmegaConf.create({"key": parsed}), resolve=True)
    assert config == {"key": value}


def test_a_refused_run_leaves_no_directory(tmp_path: Path) -> None:
    prepared = prepare(tmp_path / "a" / "b", "hydra.run.dir")
    (tmp_path / "a" / "b" / "difflab.log").write_text("began")
    prepared.undo()
    assert list(tmp_path.iterdir()) == []


def test_undo_keeps_what_was_there_before_and_what_has_results(tmp_path: Path) -> None:
    record = tmp_path / "run" / ".hydra" / "config.yaml"
    record.parent.mkdir(parents=True)
    record.write_text("seed: 0\n")
    prepared = prepare(tmp_path / "run", "hydra.run.dir")
    record.write_text("seed: 1\n")
    prepared.undo()
    assert record.read_text() == "seed: 0\n"
    started = prepare(tmp_path / "new", "hydra.run.dir")
    (tmp_path / "new" / "checkpoints" / "step_00000010").mkdir(parents=True)
    started.undo()
    assert (tmp_path / "new" / "checkpoints").is_dir()


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.*cannot be used"):
        prepare(tmp_path / "file" / "run", "hydra.run.dir")
