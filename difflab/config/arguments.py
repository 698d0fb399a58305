"""The command line as typed: Hydra's flags, and the packages whose code it allows."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override

from ..errors import ConfigError
from ..files import UNREADABLE
from .compose import Composer, quoted
from .schema import NODES


def parse(argv: list[str]) -> Namespace:
    """Hydra's own flags and the overrides; ConfigError for flags that do not exist or are not offered."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{' '.join(argv)}: {message}; an override is key=value, and --help lists the flags.")

    parser.error = refuse
    args = parser.parse_intermixed_args(argv)  # flags may stand between overrides
    if args.experimental_rerun:
        raise ConfigError("--experimental-rerun is refused: it would run a pickle; use resume=RUN_DIR.")
    if args.config_path or args.config_name:
        raise ConfigError(
            "--config-path and --config-name are refused: conf/ is the registry; add options of your own with --config-dir DIR."
        )
    return args


def flags(args: Namespace) -> list[str]:
    """The flags of a command that only shows something, to be handed on to Hydra."""
    result = ["--cfg", args.cfg] if args.cfg else []
    result += ["--package", args.package] if args.package else []
    result += ["--info", args.info] if args.info else []
    return result + (["--resolve"] if args.resolve else [])


def with_config_dir(overrides: list[str], directory: str | None, composing: Composer) -> list[str]:
    """--config-dir as the override it stands for, so that checking and running search the same places."""
    if directory is None:
        return overrides
    if not Path(directory).is_dir():
        raise ConfigError(f"--config-dir {directory}: there is no such directory.")
    _check_files(Path(directory))
    places, rest = [f"file://{Path(directory).absolute()}"], []
    for override in composing.parse(overrides):
        value = override.value()
        if override.key_or_group == "hydra.searchpath" and isinstance(value, list):
            places += [str(place) for place in value]
        else:
            rest.append(str(override.input_line))
    return [*rest, f"hydra.searchpath={quoted(places)}"]


def plugins(typed: Sequence[Override]) -> tuple[str, ...]:
    """The packages whose code this command line allows: typed now or in the environment, never from a file."""
    names = [name.strip() for name in os.environ.get("DIFFLAB_PLUGINS", "").split(",")]
    for override in typed:
        if override.key_or_group == "plugins":
            value = override.value()
            names += [str(name) for name in value] if isinstance(value, list) else [str(value)]
    return tuple(name for name in names if name)


def check_typed(typed: Sequence[Override], allowed: Sequence[str]) -> None:
    """ConfigError for settings of Hydra's that take a run's files elsewhere, or import a package that is no plugin."""
    for override in typed:
        key, value, line = override.key_or_group, override.value(), str(override.input_line)
        if key == "hydra.searchpath":
            for place in value if isinstance(value, list) else [value]:
                kind, _, package = str(place).partition("://")
                if kind != "file" and package.partition(".")[0] not in allowed:
                    raise ConfigError(
                        f"{line}: {place} runs the code of a package; type plugins=[{package}] if you mean it, or give file://DIR."
                    )
        elif key == "hydra.output_subdir":
            raise ConfigError(
                f"{line}: a run's record lies in .hydra, where every other command looks for it; leave it out."
            )
        elif key in ("hydra.job.name", "hydra.sweep.subdir") and (not value or "/" in str(value) or value == ".."):
            raise ConfigError(f"{line}: this is one name below the run's or the sweep's directory; give one without /.")


def _check_files(directory: Path) -> None:
    """ConfigError names a file of --config-dir that is no YAML, or a recipe that would not be one."""
    for file in sorted(directory.rglob("*.yaml")):
        try:
            text = file.read_bytes().decode()
            yaml.load(text, NODES)
        except UNREADABLE as error:
            raise ConfigError(
                f"{file} cannot be read ({' '.join(str(error).split())}); repair it, or take it out of --config-dir."
            ) from error
        if {"experiment", "debug"} & {*file.relative_to(directory).parts[:-1]} and not re.search(
            r"^# *@package +_global_", text, re.MULTILINE
        ):
            raise ConfigError(
                f"{file}: a recipe sets keys of the whole configuration; its first line must be # @package _global_."
            )
