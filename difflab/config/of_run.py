"""What a command line that reads a run composes to, without a command: for the Python API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..job import checked
from .arguments import check_typed, plugins
from .compose import composer, quoted
from .inherit import check_untouched, find_run, inherited, load_run
from .schema import conf_directory, load_schema

COMMANDS = ("task", "run", "runs", "resume", "init", "hydra", "experiment", "debug")  # say what a command line is to do


@dataclass(frozen=True)
class OfRun:
    """A run, or an export, and overrides that hold for all that is done with it."""

    path: Path
    overrides: tuple[str, ...] = ()

    def config(self, *overrides: str) -> dict[str, Any]:
        """The checked configuration of `task=evaluate run=PATH` with these overrides too. ConfigError as on the command line."""
        typed_lines = [*self.overrides, *overrides]
        with composer(conf_directory(), load_schema()) as composing:
            typed_lines = composing.renamed([*self.overrides, *overrides])
            typed = composing.parse(typed_lines)
            allowed = plugins(typed)
            check_typed(typed, allowed)
            check_untouched(typed, "the run")
            for override in typed:
                if override.key_or_group.partition(".")[0].partition("/")[0] in COMMANDS:
                    raise ConfigError(f"{override.input_line} is for the command line; leave it out.")
            own = inherited(load_run(find_run("source", str(self.path))), typed, composing, keep_task=False)
            cfg = composing.compose([*own, *typed_lines, "task=evaluate", f"run={quoted(str(self.path))}"])
            config = checked(cfg, cfg.hydra, allowed)
            chosen = cfg.hydra.runtime.choices.items()
            return config | {"choices": {group: str(option) for group, option in chosen if group in config}}


def lines(group: str, option: str | None, values: Mapping[str, Any]) -> list[str]:
    """Overrides of a group as keyword arguments give them."""
    chosen = [] if option is None else [f"{group}={option}"]
    return [*chosen, *(f"{group}.{key}={quoted(value)}" for key, value in values.items())]
