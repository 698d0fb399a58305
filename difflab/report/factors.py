"""In what the runs of a page differ: what they can be coloured, grouped and filtered by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..compare.seeds import IGNORED
from ..dashboard.sections import CHOICES
from .numbers import spread

SEED = "seed"
MOST = 12  # factors beside the choices and the seed
NONE = "–"


def factors(configs: Sequence[Mapping[str, str]], results: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """{factor: its value in each run}, choices first and the seed last, of those that differ. `configs`: dotted keys as text.

    A key that the choices settle (the model's, of runs on two data sets) is no factor of its own.
    """
    keys = sorted({key for config in configs for key in config})
    named = [key.rpartition(".")[0] for key in keys if key.endswith(".name")]
    groups = [g for g in dict.fromkeys((*CHOICES, *named)) if not _ignored(g)]
    found: dict[str, list[str]] = {}
    for group in groups:
        chosen = [(result.get("choices") or {}).get(group) for result in results]
        values = [str(own or config.get(f"{group}.name", NONE)) for own, config in zip(chosen, configs)]
        if _new(values, found):
            found[group] = values
    others = {}
    for key in keys:
        if not _ignored(key) and not key.endswith(".name"):
            values = [config.get(key, NONE) for config in configs]
            if _new(values, found):
                others[key] = values
    found |= {key: others[key] for key in spread(list(others), MOST)}
    seeds = [str(r["seed"]) if "seed" in r else config.get(SEED, NONE) for config, r in zip(configs, results)]
    return found | ({SEED: seeds} if len(set(seeds)) > 1 else {})


def levels(values: Sequence[str]) -> list[str]:
    """The values there are, numbers by size: 4, 10, inf."""

    def order(value: str) -> tuple[bool, float, str]:
        number = re.fullmatch(r"-?(\d+\.?\d*(e[-+]?\d+)?|inf)", value)
        return not number, float(value) if number else 0.0, value

    return sorted(set(values), key=order)


def _ignored(key: str) -> bool:
    return key == SEED or key == "choices" or any(key == name or key.startswith(f"{name}.") for name in IGNORED)


def _new(values: Sequence[str], found: Mapping[str, Sequence[str]]) -> bool:
    """Whether the values differ between runs that agree in all factors found so far."""
    cells: dict[tuple[str, ...], set[str]] = {}
    for i, value in enumerate(values):
        cells.setdefault(tuple(own[i] for own in found.values()), set()).add(value)
    return any(len(own) > 1 for own in cells.values())
