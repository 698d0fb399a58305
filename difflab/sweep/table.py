"""The tables of a question's answer, and which published claims its runs bear out.

tables:
  - title: bits/dim
    rows: [parameterization, objective]       # keys of the cells
    columns: variance                         # one more key, its values side by side (or, without: values)
    values: [bpd, L_T, L_mid, L_0, t<=T/100, T/100<t<=T/10, t>T/10, train_seconds, floors.Gaussian]
    where: {schedule: linear}                 # of these cells only
  - title: bits/dim by the number of steps
    chains: [10, 25, 50, 100, 200, 400, 1000] # every run's mean, on chains of so many steps
    where: {objective: simple}
  - title: published orderings
    claims:
      - says: cosine beats linear (Improved DDPM, table 2)
        better: {schedule: cosine}            # each with the rest of the keys, cell by cell
        worse: {schedule: linear}
        where: {objective: hybrid}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import tables
from ..card.blocks import Block, Heading, Table, Text, markdown
from ..files import UNREADABLE, write_atomically
from . import claims, record
from .answers import Answers, Figure, varying
from .plan import Plan
from .question import Cell

CHAINS = [
    (chain, variance) for chain in ("even", "optimal") for variance in ("fixed_beta_tilde", "fixed_beta", "optimal")
]


@dataclass(frozen=True)
class Drawn:
    """One table of a question; without rows if nothing of it is finished. names: how many columns say what a row is of."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1

    @property
    def columns(self) -> tables.Columns:
        return {name: np.array([row[i] for row in self.rows]) for i, name in enumerate(self.head)} if self.rows else {}

    @property
    def blocks(self) -> list[Block]:
        content = Table(self.head, self.rows, self.names) if self.rows else Text("Nothing is finished yet.")
        return [Heading(self.title), content]


@dataclass(frozen=True)
class Answered:
    """What a sweep says to its question so far. notes: how to read its tables; lost: cells that have no figure, and why."""

    name: str
    question: str
    tables: Sequence[Drawn]
    notes: Sequence[str]
    lost: Sequence[str]

    @property
    def blocks(self) -> list[Block]:
        """All tables, and how to read them."""
        return [block for drawn in self.tables for block in drawn.blocks] + [Text(note) for note in self.notes]

    @property
    def files(self) -> dict[str, tables.Columns]:
        """Each table by the name of its CSV."""
        return {f"table_{number}": drawn.columns for number, drawn in enumerate(self.tables, 1)}


def answered(directory: Path) -> Answered:
    """The tables of a sweep's question, from what is finished. ConfigError if the directory holds none."""
    plan = record.load(directory)
    answers = Answers(directory, plan)
    drawn = [_drawn(table, answers) for table in plan.tables]
    return Answered(plan.name, plan.question, drawn, _notes(plan, answers.states), _lost(plan, answers.states))


def write(directory: Path) -> str:
    """tables.md and one CSV for each table; the text."""
    found = answered(directory)
    for name, columns in found.files.items():
        path = directory / f"{name}.csv"
        tables.save(path, columns) if columns else path.unlink(missing_ok=True)
    text = markdown([Heading(found.name, 1), Text(found.question), *found.blocks, *map(Text, found.lost)])
    write_atomically(directory / "tables.md", lambda file: file.write(text))
    return text.rstrip()


def _drawn(table: Mapping[str, Any], answers: Answers) -> Drawn:
    cells, title = answers.matching(table.get("where", {})), str(table["title"])
    if "claims" in table:
        return Drawn(title, claims.HEAD, claims.verdicts(table["claims"], answers), claims.NAMES)
    if "chains" in table:
        return Drawn(title, *_chains(table["chains"], cells, answers))
    return Drawn(title, *_grid(table, cells, answers))


def _grid(table: Mapping[str, Any], cells: Sequence[Cell], answers: Answers) -> tuple[list[str], list[list[str]], int]:
    keys, column, values = list(table["rows"]), table.get("columns"), table.get("values", ["bpd"])
    defined = [cell for cell in cells if column or answers.missing(cell) != "not defined"]
    if column or len({tuple(cell.get(key, "") for key in keys) for cell in defined}) < len(defined):
        keys += [
            key
            for key in varying(defined)
            if key not in keys and key != column and _tells_apart(key, keys, column, defined)
        ]
    across = list(dict.fromkeys(cell[column] for cell in cells if column in cell)) if column else values
    rows: dict[tuple[str, ...], list[str]] = {}
    for cell in cells:
        label = tuple(cell.get(key, "") for key in keys)
        if column is None and answers.missing(cell) == "not defined":
            continue  # a row of nothing; the cell is listed below
        row = rows.setdefault(label, [*label, *("" for _ in across)])
        for i, name in enumerate(across):
            if column is None or cell.get(column) == name:
                figure = answers.figure(cell, values[0] if column else name)
                row[len(keys) + i] = shown(figure) if figure else answers.missing(cell)
    return [*keys, *across], list(rows.values()), len(keys)


def _tells_apart(key: str, keys: Sequence[str], column: str | None, cells: Sequence[Cell]) -> bool:
    """Whether cells that would stand in one place differ in this key (a factor that was typed)."""
    known = [k for k in (*keys, column) if k]
    places: dict[tuple[str, ...], set[str]] = {}
    for cell in cells:
        places.setdefault(tuple(cell.get(k, "") for k in known), set()).add(cell.get(key, ""))
    return any(len(values) > 1 for values in places.values())


def _chains(steps: Sequence[int], cells: Sequence[Cell], answers: Answers) -> tuple[list[str], list[list[str]], int]:
    keys, rows = list(varying(cells)), []
    for cell in cells:
        found = [_chains_of(answer.directory) for answer in answers.of(cell) if answer.variance is None]
        for chain, variance in CHAINS:
            row = []
            for k in steps:
                values = [table[chain, variance, k] for table in found if (chain, variance, k) in table]
                spread = float(np.std([v for v, _ in values], ddof=1)) if len(values) > 1 else math.nan
                means = np.mean(values, 0) if values else None
                row.append(
                    "" if means is None else shown(Figure(float(means[0]), float(means[1]), spread, len(values)))
                )
            if any(row):
                rows.append([*(cell.get(key, "") for key in keys), chain, variance, *row])
    return [*keys, "chain", "variance", *(f"K = {k:,}" for k in steps)], rows, len(keys) + 2


def _chains_of(directory: Path) -> dict[tuple[str, str, int], tuple[float, float]]:
    files = sorted((directory / "bound").glob("step_*[0-9]-chains.csv"))
    try:
        columns = tables.load(files[-1])
        unit = "bpd" if "bpd" in columns else "nats_per_dim"
        rows = zip(columns["chain"], columns["variance"], columns["steps"], columns[unit], columns[f"{unit}_se"])
        return {(str(c), str(v), int(k)): (float(x), float(se)) for c, v, k, x, se in rows}
    except UNREADABLE:
        return {}


def _notes(plan: Plan, states: Mapping[str, record.State]) -> list[str]:
    lines = [
        "Mean over seeds ± the standard error on these examples (their own; it does not shrink with seeds); after it, in brackets, the standard deviation between "
        "seeds and their number. L_T, L_mid (t = 2..T), L_0 (t = 1) and what a space adds make the bound."
    ]
    if plan.twins:
        lines.append(
            f"{len(plan.twins)} cells need no training of their own: hybrid's bound term moves nothing but a learned variance, and a loss without the bound's "
            "terms reads no variance, so the same mean is priced with each fixed one."
        )
    if any(state.state not in record.ENDED for state in states.values()):
        lines.append(f"The sweep is not at its end: {record.counted(states)}.")
    return lines


def _lost(plan: Plan, states: Mapping[str, record.State]) -> list[str]:
    cells = [f"{' '.join(f'{k}={v}' for k, v in refused.cell.items())}: {refused.message}" for refused in plan.refused]
    failed = [f"FAILED: {name}: {state.message}" for name, state in states.items() if state.state == "failed"]
    return [*(f"not defined: {cell}" for cell in cells), *failed]


def shown(figure: Figure) -> str:
    """2.1843 ± 0.0131 (0.0042, 3)."""
    digits = 4 if abs(figure.mean) < 100 else 1
    if abs(figure.mean) < 5e-5 and figure.mean != 0:
        return f"{figure.mean:.1e}"
    text = f"{figure.mean:.{digits}f}"
    text += "" if math.isnan(figure.se) else f" ± {figure.se:.{digits}f}"
    return text if math.isnan(figure.spread) else f"{text} ({figure.spread:.{digits}f}, {figure.seeds})"
