"""The jobs of a question: its cells with what the user typed, each distinct training once, what is not defined apart."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from ..config.compose import Composer
from ..errors import ConfigError, NotDefined
from ..job import matters
from .question import Cell, Question
from .twins import trained_as

Check = Callable[[DictConfig], dict[str, Any]]


@dataclass(frozen=True)
class Spec:
    """A job: its directory below the sweep's, its command line, its cell."""

    name: str
    overrides: list[str]
    cell: Cell


@dataclass(frozen=True)
class Twin:
    """A cell that another one's job answers; variance: by which of the variances that it prices."""

    cell: Cell
    job: str
    variance: str | None


@dataclass(frozen=True)
class Refused:
    """A cell that is not defined, and why."""

    cell: Cell
    message: str


@dataclass(frozen=True)
class Plan:
    """All of a sweep, as sweep.json keeps it."""

    name: str
    question: str
    cost: str
    jobs: list[Spec]
    twins: list[Twin] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    search: dict[str, Any] = field(default_factory=dict)
    trials: int = 0
    inherited: int = 0  # how many lines at the head of each command line are a run's own (task=evaluate run=...)

    @property
    def example(self) -> list[str]:
        """One of its command lines."""
        return self.jobs[0].overrides


def plan(
    question: Question, typed: Sequence[Override], composing: Composer, check: Check, inherited: Sequence[str] = ()
) -> Plan:
    """Every job of a question. A typed key that the grid varies chooses among the grid's values, `seed` replaces the seeds,
    any other is for every job (or, with several values, one more factor).

    inherited: lines that come before those of every job, of the run that its jobs measure.
    check: the checked configuration of a composed one; NotDefined for cells that the table of pairs refuses. ConfigError for
    anything else that is wrong, before any job starts.
    """
    typed = [override for override in typed if not override.key_or_group.startswith("hydra")]
    values = {_key(override): _values(override) for override in typed}
    chosen = {key: values[key] for key in values if key in question.keys}
    cells = [cell for cell in question.cells if all(cell.get(key, v[0]) in v for key, v in chosen.items())]
    for key, v in chosen.items():
        offered = sorted({cell[key] for cell in question.cells if key in cell})
        if unknown := [value for value in v if value not in offered]:
            raise ConfigError(
                f"{key}={unknown[0]} is no value of sweep={question.name}, which asks about {', '.join(offered)}; leave it out, or write a question of your own."
            )
    if not cells and not question.search:
        raise ConfigError(
            f"sweep={question.name}: no cell has {' '.join(str(o.input_line) for o in typed)}; leave some of it out."
        )
    fixed = [f"{key}={v[0]}" for key, v in values.items() if key not in chosen and key != "seed" and len(v) == 1]
    factors = {key: v for key, v in values.items() if key not in chosen and key != "seed" and len(v) > 1}
    seeds = list(dict.fromkeys(values.get("seed") or [str(seed) for seed in question.seeds]))
    for key in ("resume", "runs"):
        if values.get(key, ["auto" if key == "resume" else "null"])[0] not in ("auto", "null"):
            raise ConfigError(
                f"{key}={values[key][0]}: sweep={question.name} has runs of its own, and goes on with them; leave it out."
            )
    resume = [] if inherited or "resume" in values else ["resume=auto"]  # so that the same command goes on
    common = [*inherited, *question.base, *resume]
    if question.search:
        if factors or len(seeds) > 1:
            raise ConfigError(f"sweep={question.name} is a search and chooses for itself; give one value to each key.")
        lines = [*common, *fixed, *(f"seed={seed}" for seed in seeds)]
        check(composing.compose(lines))
        jobs, twins, refused = [Spec("trial", last_of_each(lines), {})], [], []
    else:
        more = [dict(zip(factors, v, strict=True)) for v in itertools.product(*factors.values())]
        cells = [cell | other for cell in cells for other in more]
        trained, pairs, refused = _distinct(cells, common, fixed, composing, check)
        varied = [k for k in question.keys if len({cell.get(k) for cell in question.cells}) > 1] + [*factors]
        if not trained:
            raise ConfigError(f"sweep={question.name}: no cell of it is defined: {refused[0].message}")
        for seed in seeds:
            check(composing.compose([*common, *_lines(trained[0]), *fixed, f"seed={seed}"]))
        jobs, twins = _jobs(trained, pairs, seeds or [None], common, fixed, varied, composing)
    return Plan(
        question.name, question.question, question.cost, jobs, twins, refused, question.tables, question.search,
        question.trials, len(inherited),
    )  # fmt: skip


def _distinct(
    cells: list[Cell], common: list[str], fixed: list[str], composing: Composer, check: Check
) -> tuple[list[Cell], list[tuple[Cell, Cell]], list[Refused]]:
    """(the cells to be trained, each cell that another one answers with that, those that are not defined)."""
    trained: dict[tuple[tuple[str, str], ...], Cell] = {}
    pairs, refused = [], []
    for cell in cells:
        try:
            config = check(composing.compose([*common, *_lines(cell), *fixed]))
        except NotDefined as error:
            refused.append(Refused(cell, str(error)))
            continue
        # only what the grid itself asks about may be answered by another of its cells
        other = cell | {key: value for key, value in trained_as(config).items() if key in cell}
        if other != cell:
            try:
                check(composing.compose([*common, *_lines(other), *fixed]))
            except ConfigError:  # it would need keys that the other has not
                other = cell
            else:
                pairs.append((cell, other))
        trained[tuple(other.items())] = other
    return list(trained.values()), pairs, refused


def _jobs(
    trained: list[Cell], pairs: list[tuple[Cell, Cell]], seeds: Sequence[str | None], common: list[str], fixed: list[str],
    varied: list[str], composing: Composer,
) -> tuple[list[Spec], list[Twin]]:  # fmt: skip
    """Each for every seed: a whole grid with the first one comes before the next."""
    jobs: list[Spec] = []
    twins: list[Twin] = []
    for seed in seeds:
        own = {} if seed is None else {"seed": seed}
        names: list[str] = []
        for cell in trained:
            name = _named(cell | own, [*varied, *own], composing)
            names.append(name if name not in names else f"{name}-{len(names)}")
            jobs.append(Spec(names[-1], last_of_each([*common, *_lines(cell), *fixed, *_lines(own)]), cell | own))
        for cell, other in pairs:
            variance = cell.get("variance") if cell.get("variance") != other.get("variance") else None
            twins.append(Twin(cell | own, names[trained.index(other)], variance))
    return jobs, twins


def not_defined(asked: Plan) -> dict[str, str]:
    """{cell: why} of those that were never begun."""
    return {" ".join(_lines(refused.cell)): refused.message for refused in asked.refused}


def suffix(question: Question, typed: Sequence[Override]) -> str:
    """Of a sweep's directory: the same question with other values for every job is another sweep, and the same command always
    the same one. What only chooses jobs does not count."""
    lines = sorted(
        str(o.input_line) for o in typed
        if not o.key_or_group.startswith("hydra") and _key(o) not in (*question.keys, "seed") and matters(_key(o))
    )  # fmt: skip
    return f"-{hashlib.sha256(' '.join(lines).encode()).hexdigest()[:8]}" if lines else ""


def _key(override: Override) -> str:
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        if not override.is_discrete_sweep():
            raise ConfigError(f"{override.input_line}: a sweep over an interval has no end; list the values.")
        return [str(value) for value in override.sweep_string_iterator()]
    return [override.get_value_element_as_str()]


def _lines(cell: Cell) -> list[str]:
    return [f"{key}={value}" for key, value in cell.items()]


def last_of_each(lines: list[str]) -> list[str]:
    """Of lines that set the same key the last, in its place."""
    last = {line.partition("=")[0].lstrip("+"): line for line in lines}
    return [line for line in lines if last[line.partition("=")[0].lstrip("+")] is line]


def _named(cell: Cell, varied: Sequence[str], composing: Composer) -> str:
    """Of a group the option, of a key its last part and the value: eps-learned_range-T100-seed0."""
    parts = []
    for key in varied:
        if key in cell:
            group = key.partition("@")[0] in composing.schema.options or key == "experiment"
            parts.append(cell[key] if group else f"{key.rpartition('.')[2]}{cell[key]}")
    return re.sub(r"[^\w.+-]+", "_", "-".join(parts)).strip("_.") or "job"
