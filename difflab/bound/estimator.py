"""Evaluate the bound: run a design's rows through the network and keep every term, in memory that does not grow with T
or with the number of examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import ranks
from ..data.base import UNKNOWN, Stored
from ..diffusion import Diffusion
from ..gaussian import per_example
from ..prediction import Reading
from ..space.base import Encoded, Space
from ..variance.base import Variance
from .bands import Bands
from .base import Design, Plan
from .estimate import Estimate, bound_column
from .noise import SPACE, key, normal, uniform
from .rows import Rows
from .target import LEAST, Target
from .terms import bound_term

PLACED = -3  # a word more than noise is keyed with: the place of a level within its interval, in continuous time
MEASURED = ("nats", "mean_error", "variance_mismatch", "mse_x0", "out_of_range")


@dataclass(frozen=True)
class Examples:
    """Held-out data and each example's fixed id, int64 [N]; `to_unit` turns x [n, ...] into the model's units, float32; `label`
    int64 [N] (None: unknown)."""

    x: Stored
    index: Tensor
    to_unit: Callable[[Tensor], Tensor] = torch.Tensor.float
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def first(self, count: int | None) -> Examples:
        if count is None:
            return self
        label = None if self.label is None else self.label[:count]
        return replace(self, x=self.x[:count], index=self.index[:count], label=label)

    def cond(self, rows: Tensor | slice) -> Tensor:
        """What the network is told of each example: its label, int64."""
        return torch.full_like(self.index[rows], UNKNOWN) if self.label is None else self.label[rows]

    def x0(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            rows = torch.arange(len(self))[rows]  # a slice of x may read nothing yet
        return self.to_unit(self.x[rows])


def encoded(space: Space, examples: Examples, rows: Tensor | slice, seed: int, device: torch.device | str) -> Encoded:
    """Some of the examples in the chain's space. The noise that z is drawn with is keyed by the example alone: every term of
    it, in every run, is one of the same z. (In the space of the data they are where they are stored, not on the device.)"""
    x0 = examples.x0(rows)
    if space.identity:
        return space.encode(x0, None)
    shape, index = space.noise_of(tuple(x0.shape[1:])), examples.index[rows]
    noise = None if shape is None else normal(key(seed, index, torch.full_like(index, SPACE)).to(device), shape)
    return space.encode(x0.to(device), noise)


@dataclass(frozen=True)
class Extras:
    """What one pass measures besides the bound itself: the same mean scored with other variances (by name), the mean
    error in bands of frequency. No network evaluation is added."""

    variances: Mapping[str, Variance] = field(default_factory=dict)
    bands: Bands | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (*(bound_column(name) for name in self.variances), *(self.bands.names if self.bands else ()))


def evaluate(
    diffusion: Diffusion,
    examples: Examples,
    design: Design,
    device: torch.device | str = "cpu",
    *,
    clip_x0: bool | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    store: Rows | None = None,
) -> Estimate:
    """The bound of `diffusion` on the design's examples, in float32.

    `on_batch(done, total)` is called after every batch of network evaluations; what it raises stops the evaluation (with
    a `store` on the disk it can be gone on with).
    """
    mode = design.clip_x0 if clip_x0 is None else clip_x0
    return evaluate_modes(diffusion, examples, design, device, {mode: Extras()}, on_batch, store)[0]


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions of a GPU in true float32: torch lets them round to TF32 by default, which the bound at t = 1 feels."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.no_grad()
@full_float32()
def evaluate_modes(
    diffusion: Diffusion,
    examples: Examples,
    design: Design,
    device: torch.device | str,
    modes: Mapping[bool, Extras],
    on_batch: Callable[[int, int], None] | None = None,
    store: Rows | None = None,
) -> list[Estimate]:
    """One Estimate for each clip mode (clip_x0: what else to measure in it) from one pass of network evaluations: two
    models, scored apart, never mixed. A target is that of the first mode."""
    examples = examples.first(design.examples)
    run = _Pass(diffusion, examples, design, device, modes, on_batch, store or Rows())
    try:
        rounds, count, target = run.to_the_end()
    except BaseException:
        run.store.close()  # what was written stays, for the next try
        raise
    start, estimates = 0, []
    for clip, extras in modes.items():
        names = (*MEASURED, *extras.names)
        estimates.append(
            Estimate(
                design=design,
                index=examples.index[:count].numpy(),
                prior_kl=run.prior_kl[:count],
                rows=run.store.array(),
                columns={name: start + i for i, name in enumerate(names)},
                log_snr=diffusion.schedule.log_snr.detach().numpy(),
                continuous=diffusion.schedule.continuous,
                dims=run.dims,
                unit=diffusion.unit,
                clip_x0=clip,
                rounds=rounds,
                target=target,
                spent=run.at,
                **run.of_space(count),
            )
        )
        start += len(names)
    return estimates


class _Pass:
    """The evaluation itself: rounds of all examples, until the budget is used or the target reached."""

    def __init__(
        self,
        diffusion: Diffusion,
        examples: Examples,
        design: Design,
        device: torch.device | str,
        modes: Mapping[bool, Extras],
        on_batch: Callable[[int, int], None] | None,
        store: Rows,
    ) -> None:
        self.diffusion, self.examples, self.design, self.device = diffusion, examples, design, device
        self.modes, self.on_batch, self.store = modes, on_batch, store
        x_shape, space = tuple(examples.x.shape[1:]), diffusion.space
        self.shape = space.shape_of(x_shape)
        self.dims, self.x_dims, self.T = math.prod(self.shape), math.prod(x_shape), diffusion.schedule.T
        self.per_example = design.rows(self.T)
        self.budget = len(examples) * self.per_example
        self.at = 0  # rows behind us, counted from the first of the first round
        self.prior_kl = np.zeros(len(examples))
        self.parts = {name: np.zeros(len(examples)) for name in space.terms}
        self.plain_nll = np.full(len(examples), math.nan)
        self.z, self.z_start = torch.empty(0), 0  # the examples that are being evaluated, and where they begin
        self.ranks = ranks.current()
        self.there = self.store.open(sum(len(MEASURED) + len(extras.names) for extras in modes.values()))
        if self.ranks.world > 1:  # every rank holds all rows; those of an earlier process are rank 0's to know
            earlier = self.ranks.share(np.array(self.store.array()))
            if not self.ranks.first:
                self.store.truncate(0)
                self.store.append(earlier)
            self.there = len(earlier)

    def to_the_end(self) -> tuple[int, int, Target | None]:
        """(rounds, examples of each, what became of the target)."""
        scale = 1 / (self.x_dims * self.diffusion.unit.nats)
        target = Target(self.design.target_se, self.design.draws) if self.design.target_se else None
        at_once = min(self.design.batch_size, LEAST * self.per_example) if target else self.design.batch_size
        size = max(1, at_once // self.per_example)  # a target is looked at every so many examples
        chunks = [slice(a, min(a + size, len(self.examples))) for a in range(0, len(self.examples), size)]
        for round_number in range(1 << 20):
            for together in _batched(chunks, self.ranks.world):
                totals = self._examples(together, round_number) * scale
                if not target:
                    continue
                for rows in together:
                    target.add(round_number, totals[rows.start - together[0].start : rows.stop - together[0].start])
                    if target.ended(whole=rows.stop == len(self.examples)):
                        rounds, count = target.rounds, target.count
                        self.store.truncate(rounds * count * self.per_example)
                        self.at -= (
                            together[-1].stop - rows.stop
                        ) * self.per_example  # a process alone had stopped here
                        return rounds, count, target
                    self.budget = max(self.at, target.expected * self.per_example)
            if not target:
                return 1, len(self.examples), None
        raise AssertionError("a target ends")

    def _examples(self, chunks: Sequence[slice], round_number: int) -> np.ndarray:
        """Evaluate some examples in one round; the bound of each (nats, of the first mode). `chunks` of examples follow each
        other; each is cut into batches as if it were alone, and the ranks evaluate as many batches at once as they are."""
        rows = slice(chunks[0].start, chunks[-1].stop)
        index = self.examples.index[rows]
        plan = self.design.plan(index, self.T, round_number * self.design.draws)
        parts = [
            slice(first + part.start, first + part.stop)
            for chunk in chunks
            for first in [(chunk.start - rows.start) * self.per_example]
            for part in _parts((chunk.stop - chunk.start) * self.per_example, self.design)
        ]
        space = self.diffusion.space
        found = encoded(space, self.examples, rows, self.design.seed, self.device)
        self.z, self.z_start = found.z, rows.start
        values = np.concatenate([self._batches(rows.start, plan, some) for some in _batched(parts, self.ranks.world)])
        if round_number == 0:
            top = self.diffusion.schedule.level(torch.full((len(index),), self.T))
            prior = self.diffusion.process.prior_kl(found.z.cpu().double(), top)
            self.prior_kl[rows] = prior.double().cpu().numpy()
            for name, nats in found.parts.items():
                self.parts[name][rows] = nats.cpu().numpy()
            if (plain := space.plain_nll(found.z)) is not None:
                self.plain_nll[rows] = plain.cpu().numpy()
        sums = np.bincount(plan.example.numpy(), values * plan.weight.numpy(), minlength=len(index))
        return sum((nats[rows] for nats in self.parts.values()), start=sums + self.prior_kl[rows])

    def of_space(self, count: int) -> dict[str, Any]:
        """What an Estimate of the first `count` examples says of the space they were encoded in."""
        if self.diffusion.space.identity:
            return {}
        plain = self.plain_nll[:count]
        return {
            "x_dims": self.x_dims,
            "parts": {name: nats[:count] for name, nats in self.parts.items()},
            "plain_nll": None if np.isnan(plain).all() else plain,
        }

    def _batches(self, first: int, plan: Plan, parts: Sequence[slice]) -> np.ndarray:
        """The bound term of some rows (first mode), from the networks of the ranks, one batch each, or, if an earlier process
        got so far, from the store."""
        sizes = [part.stop - part.start for part in parts] + [0] * (self.ranks.world - len(parts))
        count = sum(sizes)
        stored = self.at + count <= self.there
        if stored:
            values = np.asarray(self.store.array()[self.at : self.at + count])
        else:
            if self.at < self.there:  # the process died while it wrote this batch
                self.store.truncate(self.at)
                self.there = self.at
            part = parts[self.ranks.rank] if sizes[self.ranks.rank] else slice(0, 0)
            mine = self._evaluate(Plan(plan.example[part] + first, *(column[part] for column in plan[1:])))
            values = self.ranks.gather(torch.from_numpy(mine), sizes).numpy()
            self.store.append(values)
        self.at += count
        if self.on_batch and not stored:
            self.on_batch(self.at, max(self.at, self.budget))
        return values[:, 0].astype(np.float64)

    def _evaluate(self, plan: Plan) -> np.ndarray:
        if not len(plan.t):
            return np.empty((0, self.store.width), np.float32)
        # In plan order a batch mixes noise levels, as in training; sorted by t it would have one.
        position, t = plan.example, plan.t
        words = self.examples.index[position], self.diffusion.schedule.original[t], plan.draw
        eps = normal(key(self.design.seed, *words).to(self.device), self.shape)
        x0 = self.z[position - self.z_start].to(self.device)
        u = uniform(key(self.design.seed, *words, torch.full_like(t, PLACED)))
        step = self.diffusion.schedule.drawn(t, u)
        cond = self.examples.cond(position).to(self.device)
        prediction = self.diffusion(self.diffusion.process.noised(x0, step.t, eps), step, cond)
        columns: list[Tensor] = []
        for clip, extras in self.modes.items():
            columns += measure(self.diffusion, prediction.clipped() if clip else prediction, x0, eps, extras)
        return torch.stack([column.to(x0.device, torch.float32) for column in columns], 1).cpu().numpy()


def _batched(items: Sequence[slice], count: int) -> Iterator[Sequence[slice]]:
    """`count` of them at a time, and the rest."""
    return (items[start : start + count] for start in range(0, len(items), count))


def _parts(rows: int, design: Design) -> Iterator[slice]:
    """Batches of nearly equal size, none larger than the design's."""
    edges = np.linspace(0, rows, -(-rows // design.batch_size) + 1).round().astype(int).tolist()
    return (slice(a, b) for a, b in pairwise(edges))


def measure(diffusion: Diffusion, prediction: Reading, x0: Tensor, eps: Tensor, extras: Extras) -> list[Tensor]:
    """The MEASURED quantities of each row, then those of `extras`, [B] each."""
    term = bound_term(diffusion.decoder, prediction, x0, eps)
    mse_x0 = per_example(prediction.x0_error(x0, eps).square()) / x0[0].numel()
    columns = [*term, mse_x0, prediction.out_of_range()]
    for variance in extras.variances.values():
        columns.append(bound_term(diffusion.decoder, prediction.with_variance(variance), x0, eps).nats)
    if extras.bands:
        columns += extras.bands.split(prediction, x0, eps).unbind(1)
    return columns
