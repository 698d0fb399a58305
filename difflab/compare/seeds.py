"""Runs of several seeds: what training again would change, apart from what measuring again would.

Of each example and seed there is one bound, an [N, S] table whose two-way analysis of variance separates the seeds'
own spread from the error of the evaluation: s^2 (of the seeds' means) = spread^2 + r^2 / N with r^2 the residual
variance, which is what examples and noise add to each mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .measurement import Measurement
from .student import p_value, quantile

# not part of what is trained: where, when and how it is looked at
IGNORED = (
    "seed", "device", "run", "runs", "resume", "tracker", "bound", "task", "fit", "chains", "checkpoint", "sampler", "preview",
    "features", "sweep", "job", "hydra", "data.root", "data.in_memory", "data.num_workers", "data.download", "data.url", "trainer.workers",
)  # fmt: skip
NOTHING = (None, {"name": "none"}, {"name": "identity"})


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed, in the unit per dimension."""

    name: str
    members: tuple[Measurement, ...]  # one a seed
    examples: int  # measured in all of them
    means: np.ndarray  # [S], over the common examples
    per_example: Mapping[int, float]  # mean over seeds, by example id
    evaluation_se: float  # of `mean`: these examples instead of all
    residual: float  # the part of `observed` that is due to the evaluation

    @property
    def seeds(self) -> int:
        return len(self.members)

    @property
    def mean(self) -> float:
        return float(self.means.mean())

    @property
    def observed(self) -> float:
        """Standard deviation of the seeds' means; NaN for one seed."""
        return float(self.means.std(ddof=1)) if self.seeds > 1 else math.nan

    @property
    def spread(self) -> float:
        """The part of `observed` that is due to the seeds themselves; NaN for one seed."""
        return math.sqrt(max(self.observed**2 - self.residual**2, 0.0)) if self.seeds > 1 else math.nan

    @property
    def between_se(self) -> float:
        """Standard error of `mean` over seeds; NaN for one."""
        return self.observed / math.sqrt(self.seeds)


@dataclass(frozen=True)
class Versus:
    """The difference of two groups' means with its two errors, each of which leaves the other aside."""

    first: Group
    second: Group
    difference: float
    between_se: float  # between seeds (Welch); NaN if either has one seed
    df: float
    evaluation_se: float  # paired over examples, of these very networks
    examples: int

    @property
    def between_half(self) -> float:
        """Half the 95% interval for other seeds; NaN if not known."""
        return quantile(self.df) * self.between_se

    @property
    def evaluation_half(self) -> float:
        return quantile(self.examples - 1) * self.evaluation_se

    @property
    def p(self) -> float:
        """Of no difference between the recipes, over seeds."""
        if not self.between_se > 0:
            return math.nan
        return p_value(self.difference / self.between_se, self.df)


def groups(runs: Sequence[Measurement], configs: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[Group]:
    """Runs by their configuration without the seed, in their order; a seed trained twice counts once (the first)."""
    found: dict[str, dict[Any, int]] = {}
    for i, config in enumerate(configs):
        found.setdefault(recipe(config) or f"{i}", {}).setdefault(runs[i].result.get("seed"), i)
    return [group(labels[min(own.values())], [runs[i] for i in own.values()]) for own in found.values()]


def recipe(config: Mapping[str, Any]) -> str:
    """A configuration without what does not change the trained model, as a text to compare; empty if there is none.

    A group of later days whose choice is to do nothing (augmentation=none, space=identity) is as good as absent.
    """

    def kept(node: Any, path: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        inner = {str(key): (f"{path}.{key}".lstrip("."), value) for key, value in node.items()}
        return {k: kept(v, where) for k, (where, v) in inner.items() if where not in IGNORED and v not in NOTHING}

    return json.dumps(kept(config, ""), sort_keys=True, default=str) if config else ""


def group(name: str, members: Sequence[Measurement]) -> Group:
    """The analysis of variance over the examples that all members were measured on."""
    by_id = [dict(zip(m.index.tolist(), (m.total * m.scale).tolist())) for m in members]
    common = sorted(set.intersection(*(set(values) for values in by_id)))
    table = np.array([[values[i] for values in by_id] for i in common]).reshape(len(common), len(members))
    n, seeds = table.shape
    each, means = table.mean(1), table.mean(0)
    left = table - each[:, None] - means + table.mean()
    enough = n > 1 and seeds > 1
    residual = math.sqrt((left**2).sum() / ((n - 1) * (seeds - 1)) / n) if enough else math.nan
    se = float(each.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return Group(name, tuple(members), n, means, dict(zip(common, each.tolist())), se, residual)


def versus(first: Group, second: Group) -> Versus:
    """first - second."""
    common = sorted(first.per_example.keys() & second.per_example.keys())
    each = np.array([first.per_example[i] - second.per_example[i] for i in common])
    parts = [g.observed**2 / g.seeds if g.seeds > 1 else math.nan for g in (first, second)]
    variance = sum(parts)
    inner = sum(part**2 / (g.seeds - 1) for part, g in zip(parts, (first, second)) if g.seeds > 1)
    return Versus(
        first=first,
        second=second,
        difference=float(each.mean()) if len(each) else math.nan,
        between_se=math.sqrt(variance) if variance >= 0 else math.nan,
        df=variance**2 / inner if variance > 0 and inner > 0 else math.nan,
        evaluation_se=float(each.std(ddof=1) / math.sqrt(len(each))) if len(each) > 1 else math.nan,
        examples=len(each),
    )
