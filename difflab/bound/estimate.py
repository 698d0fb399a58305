"""What an evaluation leaves: its rows, read a few examples at a time, so that memory grows with neither T nor N."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from ..gaussian import Unit
from .base import Design, Plan
from .target import Target

OWN = "own"  # what tables call the model's own variance, among others that its mean is scored with


def bound_column(variance: str) -> str:
    """The column that holds the terms under a variance."""
    return "nats" if variance == OWN else f"nats:{variance}"


CELLS = 1 << 20  # (example, draw, t) cells that are looked at together


@dataclass(frozen=True)
class Block:
    """All rows of a few examples: `plan` counts the examples from 0, `first` is the position of the first of them."""

    first: int
    examples: int
    draws: int
    T: int
    plan: Plan
    rows: np.ndarray  # float32 [R, columns]
    columns: Mapping[str, int]

    def column(self, name: str) -> np.ndarray:
        """float64 [R], unweighted."""
        return self.rows[:, self.columns[name]].astype(np.float64)

    @cached_property
    def _t(self) -> np.ndarray:
        return self.plan.t.numpy()

    @cached_property
    def _cell(self) -> np.ndarray:
        pair = self.plan.example.numpy() * self.draws + self.plan.draw.numpy()
        return pair * (self.T + 1) + self._t

    def table(self, name: str) -> np.ndarray:
        """float64 [examples, draws, T + 1]: what each draw alone says of each term, 0 where it has no row (slot 0 too)."""
        weighted = self.column(name) * self.plan.weight.numpy() * self.draws
        size = self.examples * self.draws * (self.T + 1)
        return np.bincount(self._cell, weighted, minlength=size).reshape(self.examples, self.draws, self.T + 1)

    def counts(self) -> np.ndarray:
        """Rows at each t, [T + 1]."""
        return np.bincount(self._t, minlength=self.T + 1)

    def plain(self, name: str, power: int = 1) -> np.ndarray:
        """Unweighted sum (of powers) over the rows at each t, [T + 1]."""
        return np.bincount(self._t, self.column(name) ** power, minlength=self.T + 1)


@dataclass(frozen=True)
class Estimate:
    """Every evaluated term, unweighted (nats per example), with the design that says what each stands for.

    rows: float32 [rounds * N * rows of an example, columns], in memory or mapped from a file: round by round (a round is
    the design's `draws` draws of every example), example by example, in the order of the plan.
    """

    design: Design
    index: np.ndarray  # int64 [N]
    prior_kl: np.ndarray  # float64 [N] nats
    rows: np.ndarray
    columns: Mapping[str, int]
    log_snr: np.ndarray  # float64 [T + 1], the evaluated chain; in continuous time the edges of its intervals
    dims: int  # of the chain's x_0
    unit: Unit
    clip_x0: bool
    rounds: int = 1
    target: Target | None = None
    spent: int | None = None  # network evaluations, where some of them are not among the rows (a round given up)
    continuous: bool = False
    x_dims: int | None = None  # of the data, where the chain runs in another space
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)  # what that space adds: {term: float64 [N] nats}
    plain_nll: np.ndarray | None = None  # float64 [N] nats: -log p(z) in the space's own model (Space.plain_nll)

    @property
    def examples(self) -> int:
        return len(self.index)

    @property
    def T(self) -> int:
        return len(self.log_snr) - 1

    @property
    def draws(self) -> int:
        return self.design.draws * self.rounds

    @property
    def nfe(self) -> int:
        """Network evaluations it took."""
        return len(self.rows) if self.spent is None else self.spent

    @property
    def bounds(self) -> dict[str, str]:
        """{variance: its column}, the model's own first."""
        columns = [name for name in self.columns if name == bound_column(OWN) or name.startswith(bound_column(""))]
        return {name.removeprefix(bound_column("")) if ":" in name else OWN: name for name in columns}

    @property
    def scale(self) -> float:
        """nats per example -> the unit, per dimension."""
        return 1 / ((self.x_dims or self.dims) * self.unit.nats)

    @property
    def fixed(self) -> np.ndarray:
        """What no draw of t changes: L_T and the space's parts, nats, float64 [N]."""
        return sum(self.parts.values(), start=self.prior_kl)

    def first(self, count: int) -> Estimate:
        """The same of the first examples alone."""
        count = min(count, self.examples)
        per_round = self.rows.reshape(self.rounds, self.examples, -1, self.rows.shape[1])
        rows = np.ascontiguousarray(per_round[:, :count]).reshape(-1, self.rows.shape[1])
        parts = {name: values[:count] for name, values in self.parts.items()}
        plain = None if self.plain_nll is None else self.plain_nll[:count]
        return replace(
            self, index=self.index[:count], prior_kl=self.prior_kl[:count], rows=rows, parts=parts, plain_nll=plain
        )

    def blocks(self) -> Iterator[Block]:
        """The rows, a few examples at a time."""
        per_example = self.design.rows(self.T)
        table = self.rows.reshape(self.rounds, self.examples, per_example, self.rows.shape[1])
        size = max(1, CELLS // (self.draws * (self.T + 1)))
        for first in range(0, self.examples, size):
            index = torch.from_numpy(self.index[first : first + size])
            plans = [self.design.plan(index, self.T, r * self.design.draws) for r in range(self.rounds)]
            plan = Plan(*(torch.cat(parts) for parts in zip(*plans, strict=True)))
            plan = plan._replace(weight=plan.weight / self.rounds)
            rows = np.asarray(table[:, first : first + size]).reshape(-1, self.rows.shape[1])
            yield Block(first, len(index), self.draws, self.T, plan, rows, self.columns)

    def whole(self) -> Block:
        """All rows at once: for estimates that are known to be small."""
        blocks = list(self.blocks())
        if len(blocks) == 1:
            return blocks[0]
        plans = [b.plan._replace(example=b.plan.example + b.first) for b in blocks]
        plan = Plan(*(torch.cat(parts) for parts in zip(*plans, strict=True)))
        return Block(0, self.examples, self.draws, self.T, plan, np.concatenate([b.rows for b in blocks]), self.columns)

    def totals(self, name: str = "nats") -> np.ndarray:
        """The bound of each example by each draw, nats, float64 [N, draws]; their mean over draws is its estimate."""
        sums = [block.table(name).sum(2) for block in self.blocks()]
        return self.fixed[:, None] + np.concatenate(sums)
