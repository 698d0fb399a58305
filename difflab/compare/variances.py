"""Which variance, without another training: each run's mean priced with every reverse variance, as its measurement did."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..bound.sums import PARTS
from ..card.blocks import Block, Table, Text
from ..tables import Columns, columns
from .measurement import Measurement
from .words import value


def priced(run: Measurement) -> dict[str, Mapping[str, Any]]:
    """{variance: its totals}, `own` first; empty for a run whose measurement is older or prices none."""
    known = run.result.get("variances")
    found = {str(k): v for k, v in known.items() if isinstance(v, Mapping)} if isinstance(known, Mapping) else {}
    return {name: found[name] for name in sorted(found, key=lambda name: (name != "own", name))}


def blocks(runs: Sequence[Measurement]) -> list[Block]:
    """Runs (best first) by variances, the lowest of each run marked."""
    names = list(dict.fromkeys(name for run in runs for name in priced(run)))
    if len(names) < 2:
        return []
    rows, lowest = [], Counter[str]()
    for run in runs:
        if not (known := priced(run)):
            continue
        bounds = {name: _figure(totals, run.unit.key) for name, totals in known.items()}
        best = min(bounds, key=lambda name: math.inf if math.isnan(bounds[name]) else bounds[name])
        lowest[best] += 1
        cells = [
            value(bounds.get(name, math.nan), _figure(known.get(name, {}), f"{run.unit.key}_se")) for name in names
        ]
        rows.append([run.name, *(cell + " (lowest)" * (name == best) for name, cell in zip(names, cells))])
    counts = ", ".join(f"{name} in {count} of {len(rows)}" for name, count in lowest.most_common())
    return [
        Text(
            f"The same means with other variances, {runs[0].unit.label}, from the runs' own measurements: nothing was trained or evaluated for it. The lowest is {counts}. ± is one "
            "standard error of the bound itself; the figures of a row are of the same examples and noise, so they differ more surely than it says. `optimal` "
            "was fitted on training examples."
        ),
        Table(["run", *names], rows),
    ]  # fmt: skip


def variance_table(runs: Sequence[Measurement]) -> Columns:
    """comparison_variances.csv: a row for each run and variance."""
    rows = []
    for run in runs:
        for name, totals in priced(run).items():
            row: dict[str, Any] = {"run": run.name, "variance": name}
            for key in (run.unit.key, *PARTS):
                row[key], row[f"{key}_se"] = _figure(totals, key), _figure(totals, f"{key}_se")
            rows.append(row)
    return columns(rows)


def _figure(totals: Mapping[str, Any], key: str) -> float:
    figure = totals.get(key)
    return float(figure) if isinstance(figure, int | float) else math.nan
