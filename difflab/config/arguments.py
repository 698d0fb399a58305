"""The command line as typed: Hydra's flags, and the packages whose code it allows."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override

from ..errors import ConfigError
from .compose import Composer, quoted


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
