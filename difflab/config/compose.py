"""Hydra's composition with every error as one sentence, and the overrides that a command line is made of."""

from __future__ import annotations

import copy
import copyreg
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ..errors import ConfigError
from .check import show, unknown_key, unknown_option
from .schema import Schema, conf_directory

VERSION: dict[str, Any] = {"version_base": "1.3"} if tuple(map(int, hydra.__version__.split(".")[:2])) < (1, 4) else {}
MAX_CHOICES = 64  # values of one swept key that are judged before the first job starts; each job is judged again

# Hydra deep-copies its one ConfigStore, which it then only reads, for every list of options: 134 times for --help, 0.2 s.
copyreg.pickle(ConfigStore, lambda store: (ConfigStore.instance, ()))


@dataclass(frozen=True)
class Composer:
    """Composes command lines against one conf directory; every failure is a ConfigError."""

    loader: ConfigLoader
    schema: Schema
    _composed: dict[tuple[str, ...], DictConfig] = field(default_factory=dict)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration, hydra's node included, unresolved."""
        line = tuple(overrides)
        if line not in self._composed:
            with translated(lambda: self.schema, overrides):
                self._composed[line] = self.loader.load_configuration("config", list(line), RunMode.RUN)
        return self._composed[line]

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """The overrides' keys and values."""
        parsed = []
        for line in overrides:
            with translated(lambda: self.schema, [line]):
                parsed.extend(OverridesParser.create(config_loader=self.loader).parse_overrides([line]))
            if not parsed[-1].key_or_group:
                raise ConfigError(f"{line}: an override is key=value, such as trainer.steps=300.")
            if parsed[-1].key_or_group in self.schema.options and parsed[-1].value() is None and "=" in line:
                raise ConfigError(
                    unknown_option(line.partition("=")[0], "null", self.schema.options[parsed[-1].key_or_group])
                )
        return parsed

    def renamed(self, overrides: Sequence[str]) -> list[str]:
        """`optimizer.name=adam` chooses the option of that name, as a reader expects: its other keys come along; and
        `experiment/FOLDER=NAME`, as --help lists it, the recipe experiment=FOLDER/NAME."""
        result = []
        for line in overrides:
            left, equals, value = line.partition("=")
            if equals and left.startswith("experiment/"):
                folder = left.removeprefix("experiment/")
                line = f"experiment={','.join(f'{folder}/{part}' for part in value.split(','))}"
            package, _, key = left.lstrip("+").rpartition(".")
            group = self.schema.packages.get(package)
            if equals and group and key == self.schema.name_key(group):
                names = self.schema.options[group]
                if all(part in names for part in value.split(",")):
                    line = f"{group if group == package else f'{group}@{package}'}={value}"
            result.append(line)
        return result

    def single_runs(self, overrides: Sequence[str]) -> Iterator[list[str]]:
        """Command lines without sweeps that show every value of every swept key once (not the whole product)."""
        values = []
        for override in self.parse(overrides):
            if not (lines := list(_values(override))):
                raise ConfigError(f"{override.input_line} gives no value to sweep over; list some, or leave it out.")
            values.append(lines)
        first = [lines[0] for lines in values]
        yield first
        for i, lines in enumerate(values):
            for line in lines[1:]:
                yield [*first[:i], line, *first[i + 1 :]]


@contextmanager
def composer(conf: Path, schema: Schema) -> Iterator[Composer]:
    """A Composer for `conf`; Hydra's global state is as before afterwards."""
    with initialize_config_dir(config_dir=str(conf), job_name="difflab", **VERSION):
        yield Composer(GlobalHydra.instance().config_loader(), schema)


def quoted(value: Any) -> str:
    """A value as the right side of an override, whatever characters it holds."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", value)  # literal, not an interpolation
        return QuotedString(text=text, quote=Quote.single).with_quotes()
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{quoted(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(quoted(v) for v in value) + "]"
    return repr(value)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration without hydra's node."""
    own = copy.deepcopy(cfg)
    try:
        with read_write(own), open_dict(own):
            own.pop("hydra", None)
        result = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'the configuration'}: {brief(error)}; give it a value.") from error
    assert isinstance(result, dict)
    return {str(key): value for key, value in result.items()}


@contextmanager
def translated(schema: Callable[[], Schema], overrides: Sequence[str]) -> Iterator[None]:
    """Hydra's exceptions as one sentence each, without its search path's directories; `schema` is asked only for those."""
    try:
        yield
    except HydraException as error:
        raise ConfigError(_sentence(error, schema(), overrides)) from error
    except OmegaConfBaseException as error:
        raise ConfigError(brief(error)) from error
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        AssertionError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        if isinstance(error, ConfigError) or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        suspects = [line for line in overrides if line.lstrip("+~").startswith("hydra") or line.endswith("=null")]
        what = " ".join(suspects or overrides) or "the configuration"
        raise ConfigError(f"{what}: this cannot be composed ({type(error).__name__}: {brief(error)}).") from error


def _sentence(error: HydraException, schema: Schema, overrides: Sequence[str]) -> str:
    if isinstance(error.__cause__, ConfigError):  # of what Hydra has built
        return str(error.__cause__)
    text = str(error)
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        if not re.match(r"^[~+]*[\w.@/:$-]+$", key):
            return f"{error.override}: an override is key=value, such as trainer.steps=300."
        if "=" not in error.override:
            return f"{error.override}: an override is key=value, and {key} has no value."
        return f"""{key}={show(value)}: this value needs quotes; type {key}="'{value}'" (inside the shell's quotes)."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, value = error.missing_cfg_file.rpartition("/")
        lines = [line for line in overrides if line.lstrip("+").startswith(group) and line.endswith(f"={value}")]
        lines += [line for line in overrides if line.replace("=", "/", 1) == error.missing_cfg_file]  # FOLDER/NAME
        key, _, value = lines[0].lstrip("+").partition("=") if lines else (group, "=", value)
        options = [*(error.options or []), *nested(key)]
        return unknown_option(key, value, options) if group else f"{value}: there is no such configuration."
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown(match[1], schema, overrides)
    if match := re.search(r"Multiple values for ([^.\s]+)\.", text):
        return f"{match[1]} is chosen twice; type {match[1]}=OPTION once, without +."
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        key, _, value = match[1].partition("=")
        return f"{match[1]} lists several values: add -m to run one job for each, or type {key}=[{value}] for a list."
    if match := re.search(r"Sweep parameters? '([^']+)' requires", text):
        return f"{match[1]} is a sweep: add -m to run one job for each value."
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        text = f"{text.removeprefix('Error merging override ')}: {error.__cause__}".removeprefix(": ")
    return brief(text)


def nested(group: str) -> list[str]:
    """Options of a group that lie in a folder of their own, FOLDER/NAME, as a paper's recipes do."""
    top = conf_directory() / group
    return [path.relative_to(top).with_suffix("").as_posix() for path in sorted(top.glob("*/*.yaml"))]


def brief(message: object) -> str:
    """The first part of Hydra's or OmegaConf's message: no key dumps, no directories."""
    line = " ".join(part.strip() for part in str(message).splitlines() if part.strip())
    return re.split(r" (?:full_key:|Search path:|Config search path)", line)[0]


def _unknown(key: str, schema: Schema, overrides: Sequence[str]) -> str:
    lines = [line for line in overrides if line.lstrip("+~").partition("=")[0] == key]
    return unknown_key(key, schema, lines[0] if lines else None)


def _values(override: Override) -> Iterator[str]:
    """The override once for each value it sweeps over."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        yield str(override.input_line)
    elif override.is_interval_sweep():
        interval: Any = override.value()
        yield f"{key}={interval.start}"
        yield f"{key}={interval.end}"
    else:
        for i, value in enumerate(override.sweep_string_iterator()):
            if i == MAX_CHOICES:
                return
            yield f"{key}={value}"
