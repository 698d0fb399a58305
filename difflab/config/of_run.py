"""What a command line that reads a run composes to, without a command: for the Python API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from ..errors import ConfigError
from ..job import checked
from .arguments import check_typed, plugins
from .compose import Composer, composer, quoted
from .inherit import check_untouched, find_run, inherited, load_run
from .schema import conf_directory, load_schema

COMMANDS = ("task", "run", "runs", "resume", "init", "hydra", "experiment", "debug")  # say what a command line is to do


@dataclass(frozen=True)
class OfRun:
    """A run, or an export, and overrides that hold for all that is done with it."""

    path: Path
    overrides: tuple[str, ...] = ()
    _base: list[str] = field(default_factory=list)  # the run's own configuration and the overrides, once they are known
    _known: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def config(self, *overrides: str) -> dict[str, Any]:
        """The checked configuration of `task=evaluate run=PATH` with these overrides too. ConfigError as on the command line."""
        if overrides not in self._known:
            with composer(conf_directory(), load_schema()) as composing:
                self._known[overrides] = self._composed(composing, overrides)
        return self._known[overrides]

    def _composed(self, composing: Composer, overrides: Sequence[str]) -> dict[str, Any]:
        own, more = composing.renamed(self.overrides), composing.renamed(overrides)
        typed = composing.parse([*own, *more])
        allowed = plugins(typed)
        _check(typed)
        if not self._base:
            mine = composing.parse(own)
            saved = load_run(find_run("source", str(self.path)))
            self._base.extend([*inherited(saved, mine, composing, keep_task=False), *own])
        chosen = {line.partition("=")[0] for line in more} & set(composing.schema.packages)
        kept = [line for line in self._base if _group(line) not in chosen]
        cfg = composing.compose([*kept, *more, "task=evaluate", f"run={quoted(str(self.path))}"])
        config = checked(cfg, cfg.hydra, allowed)
        options = cfg.hydra.runtime.choices.items()
        return config | {"choices": {group: str(option) for group, option in options if group in config}}


def _group(line: str) -> str:
    """The group that an override chooses or changes a value of."""
    return line.lstrip("+").partition("=")[0].partition(".")[0]


def _check(typed: Sequence[Override]) -> None:
    check_typed(typed, plugins(typed))
    check_untouched(typed, "the run")
    for override in typed:
        if override.key_or_group.partition(".")[0].partition("/")[0] in COMMANDS:
            raise ConfigError(f"{override.input_line} is for the command line; leave it out.")


def lines(group: str, option: str | None, values: Mapping[str, Any]) -> list[str]:
    """Overrides of a group as keyword arguments give them."""
    chosen = [] if option is None else [f"{group}={option}"]
    return [*chosen, *(f"{group}.{key}={quoted(value)}" for key, value in values.items())]
