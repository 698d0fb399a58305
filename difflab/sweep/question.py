"""A file of sweeps/: one question, the grid of runs that answers it, and the tables of the answer.

    question: Does ... buy more bits?
    cost: 12 trainings of 300 steps on digits, about 20 minutes on one core
    base: [trainer.steps=300]                 # overrides of every job
    grid:                                     # every combination; a list of such grids adds up
      schedule: [linear, cosine]
      variance: [fixed_beta, learned_range]
    seeds: [0, 1, 2]
    search:                                   # in place of a grid: where an optimiser looks
      optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
      objective: [vlb, hybrid]
    trials: 30
    tables: [...]                             # see table.py

It is data: nothing in it runs, and its overrides are judged as typed ones are.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..config.check import unknown_option
from ..config.compose import quoted
from ..errors import ConfigError
from ..files import UNREADABLE

Cell = dict[str, str]  # key -> value, as typed
KEYS = {"question": str, "cost": str, "base": list, "grid": (dict, list), "seeds": list, "search": dict, "trials": int, "tables": list}  # fmt: skip
RANGE = {"low", "high", "log", "step"}
TABLE = {"title", "rows", "columns", "values", "where", "chains", "claims"}
CLAIM = {"says", "better", "worse", "where"}
FOREIGN = ("plugins", "run", "runs", "resume", "sweep", "job")  # typed by a person, never by a file
PLAIN = re.compile(r"^[\w.@/-]+$")


@dataclass(frozen=True)
class Question:
    """cells: the grid's, without seeds. search: key -> its values as typed, or {low, high, log, step}."""

    name: str
    path: Path
    question: str
    cost: str
    base: list[str]
    cells: list[Cell]
    seeds: list[int]
    search: dict[str, Any] = field(default_factory=dict)
    trials: int = 0
    tables: list[dict[str, Any]] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """What its cells set, in their order."""
        return list(dict.fromkeys(key for cell in self.cells for key in cell))


def directory() -> Path:
    """The shipped questions: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent.parent
    return next((d for d in (here / "sweeps", here.parent / "sweeps") if d.is_dir()), here / "sweeps")


def names() -> list[str]:
    return sorted(path.stem for path in directory().glob("*.yaml"))


def load(name: str) -> Question:
    """The question of that name or, if it ends in .yaml, in that file. ConfigError names what is wrong with it."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else directory() / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"{unknown_option('sweep', name, names())[:-1]}, or give a YAML file.")
    try:
        content = yaml.safe_load(path.read_bytes())
    except UNREADABLE as error:
        raise ConfigError(f"{path} cannot be read ({' '.join(str(error).split())}); repair it.") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds no mapping; it takes {', '.join(KEYS)}.")
    _check(path, content)
    grids = content.get("grid", [])
    grids = [grids] if isinstance(grids, Mapping) else grids
    products = [_product(path, grid) for grid in grids]
    cells = list({tuple(cell.items()): cell for product in products for cell in _cells(product)}.values())
    base = [str(line) for line in content.get("base", [])]
    for key in (
        *(line.partition("=")[0] for line in base),
        *(k for cell in cells for k in cell),
        *content.get("search", {}),
    ):
        _check_key(path, str(key))
    known = {
        key: {cell[key] for cell in cells if key in cell} for key in dict.fromkeys(k for cell in cells for k in cell)
    }
    tables = [_table(path, table, known) for table in content.get("tables", [])]
    search = {str(key): _dimension(path, str(key), value) for key, value in content.get("search", {}).items()}
    return Question(
        path.stem, path, content["question"], content.get("cost", ""), base, cells,
        content.get("seeds", []), search, content.get("trials", 0), tables,
    )  # fmt: skip


def _check(path: Path, content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        if key not in KEYS:
            raise ConfigError(f"{path}: there is no key {key}; it takes {', '.join(KEYS)}.")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise ConfigError(
                f"{path}: {key}={value} is of the wrong kind; difflab/sweep/question.py shows an example."
            )
    if "question" not in content:
        raise ConfigError(f"{path}: question is missing; say in one sentence what the runs will tell.")
    if bool(content.get("grid")) == bool(content.get("search")):
        raise ConfigError(f"{path}: give either grid, every combination of its values, or search, where to look.")
    if content.get("search") and content.get("trials", 0) < 1:
        raise ConfigError(f"{path}: trials={content.get('trials')} must be at least 1: how often search looks.")
    if content.get("search") and content.get("seeds"):
        raise ConfigError(f"{path}: a search has no seeds of its own; put seed=0 into base, or seed into search.")
    for seed in content.get("seeds", []):
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ConfigError(f"{path}: seeds holds {seed}, which is no whole number.")


def _check_key(path: Path, key: str) -> None:
    """ConfigError for what only a person may type, and what is Hydra's: a question is data."""
    if not PLAIN.match(key) or key.startswith("hydra") or key in FOREIGN:
        raise ConfigError(
            f"{path}: {key} is not for a file to say: a question names groups and keys of difflab's own; type it."
        )


def _table(path: Path, table: Any, known: Mapping[str, set[str]]) -> dict[str, Any]:
    """A table whose cells are named as the grid's are."""
    if not isinstance(table, Mapping) or "title" not in table or set(table) - TABLE:
        raise ConfigError(f"{path}: a table has a title and of {', '.join(sorted(TABLE))}; one is {table}.")
    title = table["title"]
    if sum(key in table for key in ("rows", "chains", "claims")) != 1:
        raise ConfigError(f"{path}: the table {title} needs one of rows, chains and claims.")
    kinds = {
        "title": str,
        "columns": str,
        "rows": list,
        "values": list,
        "chains": list,
        "claims": list,
        "where": Mapping,
    }
    if wrong := [key for key, value in table.items() if not isinstance(value, kinds[key])]:
        raise ConfigError(
            f"{path}: {wrong[0]} of the table {title} is {table[wrong[0]]}, which is of the wrong kind; difflab/sweep/table.py shows an example."
        )
    if not all(isinstance(k, int) for k in table.get("chains", [])) or not all(
        isinstance(v, str) for v in table.get("values", [])
    ):
        raise ConfigError(f"{path}: the table {title} takes whole numbers for chains, names for values.")
    if "columns" in table and len(table.get("values", ["bpd"])) != 1:
        raise ConfigError(f"{path}: the table {title} has columns, and shows one value in them.")
    used = [*table.get("rows", []), *filter(None, [table.get("columns")])]
    sides = [table.get("where", {})]
    for claim in table.get("claims", []):
        if not isinstance(claim, Mapping) or not {"says", "better", "worse"} <= set(claim) <= CLAIM:
            raise ConfigError(f"{path}: a claim has {', '.join(sorted(CLAIM))}; one is {claim}.")
        sides += [claim["better"], claim["worse"], claim.get("where", {})]
    if any(not isinstance(side, Mapping) for side in sides):
        raise ConfigError(f"{path}: better, worse and where of the table {title} are mappings of keys to values.")
    used += [key for side in sides for key in side]
    if unknown := [key for key in used if key not in known]:
        raise ConfigError(
            f"{path}: the table {title} asks for {unknown[0]}, which the grid does not vary: {', '.join(sorted(known))}."
        )
    for side in sides:
        for key, value in _texts(side).items():
            if value not in known[key]:
                raise ConfigError(
                    f"{path}: the table {title} asks for {key}={value}, and the grid has {', '.join(sorted(known[key]))}."
                )
    texts = {key: _texts(table[key]) for key in ("where",) if key in table}
    named = ("better", "worse", "where")
    claims = [claim | {key: _texts(claim[key]) for key in named if key in claim} for claim in table.get("claims", [])]
    return dict(table) | texts | ({"claims": claims} if claims else {})


def _texts(cell: Mapping[str, Any]) -> Cell:
    return {str(key): quoted_plainly(value) for key, value in cell.items()}


def _product(path: Path, grid: Any) -> dict[str, list[str]]:
    if not isinstance(grid, Mapping) or not grid:
        raise ConfigError(f"{path}: a grid is a mapping of keys to their values, and one is {grid}.")
    return {
        str(key): [quoted_plainly(v) for v in (value if isinstance(value, list) else [value])]
        for key, value in grid.items()
    }


def _cells(product: Mapping[str, list[str]]) -> Iterator[Cell]:
    for values in itertools.product(*product.values()):
        yield dict(zip(product, values, strict=True))


def _dimension(path: Path, key: str, value: Any) -> Any:
    if isinstance(value, list) and value:
        return [quoted_plainly(item) for item in value]
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys() <= RANGE:
        raise ConfigError(
            f"{path}: search.{key}={value} must be a list of values or {{low: A, high: B, log: true, step: C}}."
        )
    numbers = {k: v for k, v in value.items() if k != "log"}
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers.values()):
        raise ConfigError(
            f"{path}: search.{key}={value} holds what is no number (YAML reads 1e-3 as text: write 1.0e-3)."
        )
    if not value["low"] < value["high"] or (value.get("log") and value["low"] <= 0) or value.get("step", 1) <= 0:
        raise ConfigError(
            f"{path}: search.{key}={value}: low must be below high, positive with log, and step positive."
        )
    return dict(value)


def quoted_plainly(value: Any) -> str:
    """A value as a person would type it: quotes only where Hydra's grammar needs them."""
    if isinstance(value, str) and value and all(c.isalnum() or c in "_./-" for c in value):
        return value
    return quoted(value)
