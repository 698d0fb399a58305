"""Bits against sample quality: the runs whose task=quality is comparable, from their files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..card.blocks import Block, Bullets, Table, Text
from ..quality.record import MANIFOLD, digest, records
from ..tables import Columns
from .measurement import Measurement
from .paired import Differences

# what may differ between two measurements, in the words that say so
OTHER = {
    "features_sha256": "in other features (another classifier is another distance)", "key": "another distance",
    "split_sha256": "against other examples", "split": "against another split", "sampler": "with another sampler",
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A run's bits and its quality; difference: of the distance without its bias, to the best (None: it is the best)."""

    run: Measurement
    record: Mapping[str, Any]
    difference: Differences | None = None

    @property
    def distance(self) -> float:
        return float(self.record[f"{self.record['key']}_corrected"])

    @property
    def error(self) -> float:
        return float(self.record[f"{self.record['key']}_se"])


@dataclass(frozen=True)
class Quality:
    """Points of one design, the nearest to the data first; of the other runs, why they are not among them."""

    points: list[Point] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def quality(runs: Sequence[Measurement]) -> Quality:
    """Of runs that have a record of the weights that were measured; the design is that of most runs. Nothing, unless two
    runs have one."""
    found = {run.name: [r for r in records(run.directory) if r["step"] == run.result.get("step")] for run in runs}
    count = Counter(name for own in found.values() for name in {digest(record["design"]) for record in own})
    chosen, most = max(count.items(), key=lambda item: item[1], default=("", 0))
    if most < 2:
        return Quality()
    points, left_out, design = [], {}, {}
    for run in runs:
        fitting = next((record for record in found[run.name] if digest(record["design"]) == chosen), None)
        if fitting is not None:
            points.append(Point(run, fitting))
            design = fitting["design"]
    for run in runs:
        if all(point.run is not run for point in points):
            own = found[run.name]
            left_out[run.name] = _other(own[0]["design"], design) if own else "its quality was not measured"
    points.sort(key=lambda point: point.distance)
    best, *others = points
    return Quality([best, *(Point(p.run, p.record, difference(p.record, best.record)) for p in others)], left_out)


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> Differences:
    """a's distance less b's, without their bias. Both left out the same groups of examples, and of the noise that samples
    begin with: what those have in common is no error of the difference."""
    key = a["key"]
    mean = float(a[f"{key}_corrected"]) - float(b[f"{key}_corrected"])
    without = np.array(a[f"{key}_without"]) - np.array(b[f"{key}_without"])
    G = len(without)
    se = math.sqrt((G - 1) / G * float(((without - without.mean()) ** 2).sum()))
    return Differences(np.array([mean]), np.array([se]), G)


def blocks(found: Quality) -> list[Block]:
    """What a reader sees; nothing where nothing was measured."""
    if not found.points:
        return []
    best = found.points[0]
    record, unit = best.record, best.run.unit
    key = record["key"]
    held = record["held_out"]
    about = (
        f"{record['samples']:,} samples of each run ({record['sampler']}) against {record['reference']:,} {record['split']} examples, in the features of "
        f"{record['features']} ({record['features_sha256'][:8]}); ± is one standard error. {_name(key)} is without the bias of finite sets, and the "
        "difference to the run nearest to the data has its 95% interval, paired over what both leave out of the same examples; not corrected "
        f"for the number of runs. {held['examples']:,} held-out examples in the samples' place stand last: nobody need be nearer."
    )
    head = ["run", unit.label, "steps", _name(key), "difference", *MANIFOLD]
    rows = [
        [
            point.run.name,
            _with(point.run.bound, point.run.value(f"{unit.key}_se"), 4),
            f"{point.record['steps']:,}",
            _with(point.distance, point.error),
            "nearest" if point.difference is None else _interval(point.difference),
            *(_with(float(point.record[name]), float(point.record[f"{name}_se"])) for name in MANIFOLD),
        ]
        for point in found.points
    ]
    rows.append(
        [
            "held-out examples",
            "",
            "",
            _with(held[f"{key}_corrected"], held[f"{key}_se"]),
            "",
            *(_with(held[name], held[f"{name}_se"]) for name in MANIFOLD),
        ]
    )
    listed: list[Block] = [Text(about), Table(head, rows)]
    if found.left_out:
        listed.append(Bullets([f"{name}: not here, {why}" for name, why in found.left_out.items()]))
    return listed


def quality_table(found: Quality) -> Columns:
    """comparison_quality.csv; {} where nothing was measured."""
    rows = []
    for point in found.points:
        record, unit, gap = point.record, point.run.unit, point.difference
        key = record["key"]
        row: dict[str, Any] = {
            "run": point.run.name,
            unit.key: point.run.bound,
            f"{unit.key}_se": point.run.value(f"{unit.key}_se"),
        }
        row |= {name: record[name] for name in (key, f"{key}_corrected", f"{key}_se")}
        row |= {"difference": float(gap.mean[0]) if gap else 0.0, "difference_se": float(gap.se[0]) if gap else 0.0}
        for name in MANIFOLD:
            row |= {name: record[name], f"{name}_se": record[f"{name}_se"]}
        row |= {name: record[name] for name in ("steps", "samples", "features", "features_sha256")}
        rows.append(row | {"record": record["stem"]})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _other(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    key = next((key for key in (*OTHER, *wanted) if own.get(key) != wanted.get(key)), "")
    return f"it was measured {OTHER.get(key, f'with another task.{key}')}"


def _name(key: str) -> str:
    return key.replace("_", " ")


def _with(value: float, se: float, digits: int = 3) -> str:
    return f"{value:.{digits}f} ± {se:.{digits}f}" if math.isfinite(se) else f"{value:.{digits}f}"


def _interval(gap: Differences) -> str:
    return f"{float(gap.mean[0]):+.3f} [{float(gap.low[0]):+.3f}, {float(gap.high[0]):+.3f}]"
