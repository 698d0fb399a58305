"""What was varied between runs: the choices and values that their command lines name and in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..files import UNREADABLE
from .seeds import IGNORED
from .sources import configuration, word


@dataclass(frozen=True)
class Factor:
    """A key of the command line and what it was set to; numbers are names here, too."""

    name: str
    levels: tuple[str, ...]  # in their own order: numbers by size, words by the alphabet


def factors(directories: Sequence[Path]) -> tuple[list[Factor], dict[Path, tuple[str, ...]]]:
    """(the factors, each run's level of each). The seed repeats a cell and is none; what only looks at a run is none either."""
    typed = {directory: _typed(directory) for directory in directories}
    keys = dict.fromkeys(key for own in typed.values() for key in own if not _aside(key))
    taken = {directory: _levels(directory, typed[directory], [*keys]) for directory in directories}
    found = []
    for key in sorted(keys):
        levels = {own[key] for own in taken.values()}
        if len(levels) > 1:
            found.append(Factor(key, tuple(sorted(levels, key=_order))))
    return found, {directory: tuple(own[f.name] for f in found) for directory, own in taken.items()}


def _aside(key: str) -> bool:
    return key.split(".")[0].partition("@")[0] in IGNORED or key in IGNORED


def _typed(directory: Path) -> dict[str, str]:
    """The overrides of a run: {key: value}."""
    lines = _yaml(directory / ".hydra" / "overrides.yaml")
    pairs = [str(line).lstrip("+").partition("=") for line in (lines if isinstance(lines, list) else [])]
    return {key.lstrip("~"): value for key, _, value in pairs}


def _levels(directory: Path, typed: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    """What a run has for each key, whether it was typed there or not: the option that was chosen, else the value in its
    configuration, else what was typed."""
    if all(key in typed for key in keys):  # the jobs of one sweep: nothing else to look up
        return {key: typed[key] for key in keys}
    hydra = _yaml(directory / ".hydra" / "hydra.yaml")
    node = hydra.get("hydra") if isinstance(hydra, dict) else None
    choices = _at(node, "runtime.choices") if node else None
    config = configuration(directory)

    def level(key: str) -> str:
        if isinstance(choices, Mapping) and key in choices:
            return word(choices[key])
        if key in typed:
            return typed[key]
        value = _at(config, key)
        return word(value.get("name") if isinstance(value, Mapping) else value)

    return {key: level(key) for key in keys}


def _at(node: Any, path: str) -> Any:
    for name in path.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_bytes())
    except UNREADABLE:
        return None


def _order(level: str) -> tuple[int, float, str]:
    try:
        return 0, float(level), level
    except ValueError:
        return 1, 0.0, level
