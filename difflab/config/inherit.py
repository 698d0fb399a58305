"""A run's own configuration as overrides: resume=RUN_DIR goes on with it, task=evaluate run=RUN_DIR measures it.

The record is `.hydra/config.yaml`, the values that ran, not what the options of that time would compose to today. It is
turned into the shortest command line that composes to it: the options it chose and the values that differ from theirs.
It is data: its plugins do not count, and it is judged like anything typed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import ConfigError
from ..export import archive
from ..files import UNREADABLE
from .arguments import plugins
from .check import check, listed, show, worded
from .compose import Composer, plain, quoted
from .safety import check_safety
from .schema import Schema

FROZEN = (
    "data",
    "process",
    "schedule",
    "parameterization",
    "variance",
    "model",
    "space",
    "strata",
    "augmentation",
)  # what a checkpoint was trained as; the last three came later than the first runs
MACHINE = (  # how the data gets here, not what it is
    "data.root", "data.path", "data.in_memory", "data.num_workers", "data.download", "data.url",
)  # fmt: skip
TAUGHT = (
    "trainer.label_dropout",
)  # what a network can be asked for because it was trained so: sampler.guidance reads it
LEARNED = ("space.load",)  # where something was read from that the weights hold now
_OWN = ("run", "runs", "resume", "plugins", "sweep", "job")  # of one command line, never of the run


@dataclass(frozen=True)
class Saved:
    """A run directory's configuration and the options that were chosen."""

    directory: Path
    config: Mapping[str, Any]
    choices: Mapping[str, str]

    @property
    def file(self) -> Path:
        """Where the configuration stands."""
        return self.directory / (archive.RECORD if archive.is_export(self.directory) else ".hydra/config.yaml")


def find_run(key: str, value: str) -> Path:
    """The run directory that a path (itself, its checkpoints/, a checkpoint in it) belongs to; an export is its own."""
    path = Path(value)
    if not path.exists():
        raise ConfigError(f"{key}={value}: there is no such directory; give a run directory or a checkpoint in it.")
    if archive.is_export(path):
        if key == "resume":
            raise ConfigError(
                f"resume={value} is an export, which has no optimizer's state to go on with; start from its weights with init={value}."
            )
        return path
    for directory in [path, *path.absolute().parents[:2]]:
        if (directory / ".hydra" / "config.yaml").is_file():
            return directory
    raise ConfigError(
        f"{key}={value} is no run: it has no .hydra/config.yaml; give a run directory or a checkpoint in it."
    )


def load_run(directory: Path) -> Saved:
    """Read a run's record, or an export's; ConfigError names a file that cannot be read."""
    exported = archive.is_export(directory)
    file = directory / (archive.RECORD if exported else ".hydra/config.yaml")
    try:
        record = archive.record(directory) if exported else {}
        loaded = OmegaConf.create(record["config"]) if exported else OmegaConf.load(file)
        raw = OmegaConf.to_container(loaded, resolve=False)
        if not isinstance(raw, dict) or (lost := [key for key in FROZEN[:-3] if key not in raw]):
            raise ValueError(f"it has no {lost[0]}" if isinstance(raw, dict) else "it holds no mapping")
        check_safety({str(k): v for k, v in raw.items()})
        config = worded(OmegaConf.to_container(loaded, resolve=True))
        assert isinstance(config, dict)
        if exported:
            choices = record["choices"]
        else:
            file = directory / ".hydra" / "hydra.yaml"
            choices = OmegaConf.select(OmegaConf.load(file), "hydra.runtime.choices") if file.is_file() else None
    except ConfigError:
        raise
    except (*UNREADABLE, OmegaConfBaseException) as error:
        raise ConfigError(f"{file} cannot be read ({show(error)}); restore it or start a new run.") from error
    plain_choices = {str(k): str(v) for k, v in choices.items()} if choices is not None else {}
    return Saved(directory, {str(k): v for k, v in config.items()}, plain_choices)


def inherited(saved: Saved, typed: Sequence[Override], composer: Composer, keep_task: bool) -> list[str]:
    """The overrides that compose to the saved configuration, less what `typed` replaces. ConfigError names the record
    if it does not fit the registry."""
    try:
        lines = _lines(saved, typed, composer, keep_task)
        check(plain(composer.compose(lines)), composer.schema, plugins(typed))
    except ConfigError as error:
        raise ConfigError(f"{saved.file}: {error}") from error
    return lines


def _lines(saved: Saved, typed: Sequence[Override], composer: Composer, keep_task: bool) -> list[str]:
    schema = composer.schema
    groups = {
        package: group if group == package else f"{group}@{package}" for package, group in schema.packages.items()
    }
    typed_keys = [override.key_or_group + (f"@{override.package}" if override.package else "") for override in typed]
    choices = {}
    for package, key in groups.items():
        node = saved.config.get(package)
        if isinstance(node, Mapping) and (package != "task" or keep_task):
            choices[package] = _option(schema, schema.packages[package], node, saved.choices.get(key))
    lines = [f"{groups[package]}={option}" for package, option in choices.items() if option]
    base = plain(composer.compose(lines))
    gone = {package for package, key in groups.items() if key in typed_keys} | {"task"}
    replaced = {*_OWN, *gone} | (set() if keep_task else {"init"})
    lines = [line for line in lines if line.partition("=")[0] not in typed_keys]
    for path, value in differences(base, saved.config):
        if path.split(".")[0] not in replaced and not any(
            path == key or path.startswith(key + ".") for key in typed_keys
        ):
            lines.append(f"{path}={quoted(value)}")
    return lines


def check_untouched(typed: Sequence[Override], key: str) -> None:
    """ConfigError if data, chain, model or what the model was taught are typed where they come from a run."""
    for override in typed:
        path = override.key_or_group
        package = override.package or path.split("/")[0].split(".")[0]
        if (package in FROZEN and path not in MACHINE) or path in TAUGHT:
            raise ConfigError(
                f"{override.input_line} cannot be changed here: data, chain and model come from {key}; leave it out."
            )


def portable(config: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """A configuration without what is of one machine or one command line: paths are null, and how data gets here is as the
    files have it."""
    own = {key: value for key, value in config.items() if key in schema.packages or key in schema.keys}
    own = {key: value for key, value in own.items() if key not in (*_OWN, "task", "tracker", "init", "debug")}
    return {key: _portable(key, value, own, schema) for key, value in own.items()}


def _portable(path: str, value: Any, config: Mapping[str, Any], schema: Schema) -> Any:
    if isinstance(value, Mapping):
        return {key: _portable(f"{path}.{key}", item, config, schema) for key, item in value.items()}
    group, _, key = path.partition(".")
    if path in MACHINE:
        options = schema.options[group].values()
        return next((o.values[key] for o in options if o.name == config[group]["name"] and key in o.values), None)
    local = (isinstance(value, str) and value.startswith(("/", "~", "\\"))) or path in LEARNED
    return None if local else value


def frozen(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that stays: data, chain and model. A checkpoint keeps it beside its weights, where a
    sha256 watches over it; the run's config.yaml is a text that anybody may have edited."""
    return {key: config[key] for key in FROZEN if key in config}


def check_same(before: Mapping[str, Any], place: Path, config: Mapping[str, Any]) -> None:
    """ConfigError if the configuration has other data, another chain or another model than `place`, which says `before`.
    A key that `before` lacks is one of later days, whose default changes nothing."""
    for path, was in differences(frozen(config), frozen(before)):
        if path not in MACHINE:
            raise ConfigError(
                f"{path} is {show(was)} in {place} and {show(_select(config, path))} here; a run keeps its own data, chain and model: "
                "leave it out, restore the run's .hydra/config.yaml, or start a new run."
            )


def needs_run(task: str, typed: Mapping[str, Any]) -> str:
    """The value of run= that a task needs; ConfigError if it is not there."""
    value = typed.get("run")
    if not isinstance(value, str) or not value:
        raise ConfigError(f"run=null: task={task} needs run=RUN_DIR or run=CHECKPOINT.")
    return value


def _option(schema: Schema, group: str, node: Mapping[str, Any], choice: str | None) -> str:
    """The option that was chosen or, where it is not known any more, the one of its variant that is nearest."""
    options, name_key = schema.options[group], schema.name_key(group)
    name = node.get(name_key) if name_key else None
    fitting = [option for option, file in options.items() if name_key is None or file.name == name]
    if choice in fitting:
        return str(choice)
    if not fitting:
        names = listed(schema.names(group))
        raise ConfigError(
            f"the run's {group} {show(name)} is not in the registry; choose {group}={names} or type the plugins it needs."
        )
    return max(fitting, key=lambda option: sum(node.get(k) == v for k, v in options[option].values.items()))


def differences(base: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, wanted value) of every leaf that differs; keys that `wanted` lacks keep their value."""
    for key, value in wanted.items():
        path, before = f"{prefix}{key}", base.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            yield from differences(before, value, f"{path}.")
        elif key not in base or before != value or isinstance(before, bool) != isinstance(value, bool):
            yield path, value


def _select(config: Mapping[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config[key] if isinstance(config, Mapping) and key in config else {}
    return config if config != {} else None
