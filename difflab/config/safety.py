"""Configurations run no code: what Hydra itself would call from a composed configuration, before or after main.

Hydra instantiates `_target_` (callbacks, launcher, sweeper) and hands its logging nodes to logging.config, which calls
`()` and `class` and resolves `ext://`. Only literal names that Hydra and its own plugins ship pass; a prefix would not do
(`difflab.cli.os.system` has a good one).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ConfigError

_PLUGINS = "hydra_plugins.hydra_"
_OURS = "hydra_plugins.difflab."
TARGETS: dict[str, frozenset[str]] = {
    "hydra.launcher": frozenset({
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        f"{_PLUGINS}joblib_launcher.joblib_launcher.JoblibLauncher",
        f"{_PLUGINS}submitit_launcher.submitit_launcher.LocalLauncher",
        f"{_PLUGINS}submitit_launcher.submitit_launcher.SlurmLauncher",
        f"{_PLUGINS}ray_launcher.ray_launcher.RayLauncher",
        f"{_OURS}SideBySide",
    }),
    "hydra.sweeper": frozenset({
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        f"{_PLUGINS}optuna_sweeper.optuna_sweeper.OptunaSweeper",
        f"{_OURS}Cells",
        f"{_OURS}Search",
    }),
    "hydra.sweeper.sampler": frozenset(
        f"optuna.samplers.{name}Sampler" for name in ("TPE", "Random", "CmaEs", "NSGAII", "MOTPE", "Grid", "QMC")
    ),
}  # fmt: skip
CLASSES = frozenset({"logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"})
FACTORIES = frozenset({"colorlog.ColoredFormatter"})
STREAMS = frozenset({"ext://sys.stdout", "ext://sys.stderr"})
LOG_FILES = frozenset({"${hydra.runtime.output_dir}/${hydra.job.name}.log", "hydra-${hydra.job.name}.log"})
RESOLVERS = frozenset({"now", "hydra", "oc.env", "oc.select", "python_version"})
_RESOLVER = re.compile(r"\$\{\s*([\w.]+)\s*:")
_SECRET = re.compile(r"\$\{\s*oc\.env\s*:\s*([^,}]*(?:KEY|TOKEN|SECRET|PASSW|CREDENTIAL)[^,}]*)", re.IGNORECASE)
_COMPUTED_NAME = re.compile(r"\$\{[^}:]*\$\{")


def check_safety(config: Mapping[str, Any]) -> None:
    """`config`: the whole composed configuration, hydra's node included, NOT resolved. ConfigError for what could run code."""
    for path, key, value in _walk(config, ""):
        where = f"{path}.{key}" if path else key
        if key == "_target_" and not (isinstance(value, str) and value in TARGETS.get(path, ())):
            raise ConfigError(
                f"{where}={value} is refused: configurations run no code; choose a launcher or sweeper by its group option."
            )
        if isinstance(value, str) and "${" in value:
            resolvers = set(_RESOLVER.findall(value))
            if resolvers - RESOLVERS or _COMPUTED_NAME.search(value):
                raise ConfigError(
                    f"{where}={value} is refused: of OmegaConf's resolvers only {', '.join(sorted(RESOLVERS))} are allowed."
                )
            if secret := _SECRET.search(value):
                raise ConfigError(
                    f"{where}={value} is refused: {secret[1]} would be written into the run's files; leave it in the environment."
                )
        if path in ("hydra.job.env_set", "hydra.job.env_copy"):
            raise ConfigError(
                f"{where}={value} is refused: a configuration sets no environment; export it in the shell."
            )
        if where == "hydra.sweeper.custom_search_space" and value is not None:
            raise ConfigError(f"{where}={value} is refused: it names a function, and configurations run no code.")
        if where.startswith(("hydra.job_logging.", "hydra.hydra_logging.")):
            _check_logging(where, key, value)
    for name in ("job_logging", "hydra_logging", "callbacks", "launcher", "sweeper"):
        node = config.get("hydra", {}).get(name)
        if isinstance(node, str):  # an interpolation to somewhere the walk above did not read as this node
            raise ConfigError(f"hydra.{name}={node} is refused: it must be a mapping written out.")


def _check_logging(where: str, key: str, value: Any) -> None:
    if key == "class":
        fine = value in CLASSES
    elif key == "()":
        fine = value in FACTORIES
    elif key == "filename":
        fine = value in LOG_FILES
    elif isinstance(value, str):
        fine = ("://" not in value and "${" not in value) or value in STREAMS
    else:
        fine = True
    if not fine:
        raise ConfigError(
            f"{where}={value} is refused: logging configurations run no code; use what Hydra's own job_logging options show."
        )


def _walk(node: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """(path of the parent, key, value) of every key and list item, depth first."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in items:
        yield path, str(key), value
        if isinstance(value, Mapping | list):
            yield from _walk(value, f"{path}.{key}" if path else str(key))
