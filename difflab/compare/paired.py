"""The difference of two bounds, term by term, on the examples that both were measured on.

Every figure is a mean over examples of each example's own difference, so what the two have in common (the example, and
the noise where it is the same) cancels, and the standard error is that of the difference itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..bound.moments import Moments
from ..errors import ConfigError
from ..figure.pooling import log_edges
from .measurement import Measurement
from .student import ALPHA, p_value, quantile
from .terms import CELLS, Table, Terms

SUMS = ("bound", "prior_kl", "transition_kl", "decoder_nll")
POINTS = 100  # of the common grid of log SNR
POOLS = 60  # neighbouring t that a figure shows together


@dataclass(frozen=True)
class Differences:
    """Means over `n` examples with standard errors, in the unit per dimension; arrays of one shape."""

    mean: np.ndarray
    se: np.ndarray
    n: int

    @property
    def half(self) -> np.ndarray:
        """Half the width of the 95% interval (Student's t); NaN for a single example."""
        return quantile(self.n - 1) * self.se

    @property
    def low(self) -> np.ndarray:
        return self.mean - self.half

    @property
    def high(self) -> np.ndarray:
        return self.mean + self.half

    @property
    def p(self) -> list[float]:
        """Two-sided p-values of no difference; 1 where there is none at all, NaN where no error is known."""
        return [_p(float(m), float(s), self.n - 1) for m, s in zip(self.mean.flat, self.se.flat)]


def _p(mean: float, se: float, df: float) -> float:
    if math.isnan(se) or math.isnan(mean):
        return math.nan
    if se == 0:
        return 1.0 if mean == 0 else 0.0
    return p_value(mean / se, df)


@dataclass(frozen=True)
class PerStep:
    """What exists only where both chains have the same T. Another schedule puts the same t at another level of noise."""

    terms: Differences  # [T + 1]: slot t, slot 0 = prior_kl
    cumulative: Differences  # [T]: terms 1..t, after what a space adds
    edges: np.ndarray  # [P + 1]: pool k holds t = edges[k] .. edges[k + 1] - 1
    pools: Differences  # [P]: sums over neighbouring t
    evaluated: np.ndarray  # int64 [T + 1]: examples in which both were evaluated at t
    shared: float  # share of the (example, t) evaluated in either run that were evaluated in both


@dataclass(frozen=True)
class Paired:
    """first - second. Cumulative sums run from the data to the noise: L_0 first, L_T last."""

    first: Measurement
    second: Measurement
    sums: Differences  # SUMS, then `space`
    grid: np.ndarray  # [G]: inf (L_0 alone), levels of log SNR from high to low, -inf (all of it)
    over_log_snr: (
        Differences  # [G]: L_0 and each term whose step's middle lies at this log SNR or above; last: the bound
    )
    per_step: PerStep | None
    between: float  # the standard error of the bound's difference, split into the part of the examples
    noise: float  # and the part of the draws; both NaN where draws are not kept apart
    space: tuple[str, ...] = ()  # the terms that the space of either adds: in the running sums they stand before L_0

    @property
    def n(self) -> int:
        return self.sums.n

    def place(self, name: str) -> int | None:
        """Where a part's difference stands among `sums`; None for one that neither has."""
        names = (*SUMS, *self.space)
        return names.index(name) if name in names else None

    @cached_property
    def common_noise(self) -> bool:
        """Whether every example had the same noise in both, at the same t. The t of chains of another length are others."""
        alike = self.first.result.get("bound_seed") == self.second.result.get("bound_seed")
        alike &= self.first.label == self.second.label  # in continuous time x_t is not at t, but somewhere below
        return alike and self.per_step is not None and self.per_step.shared == 1


def differ(first: Measurement, second: Measurement, a: Terms, b: Terms) -> Paired:
    """Pair them on common examples, a block at a time. ConfigError if there are none."""
    _, at_a, at_b = np.intersect1d(first.index, second.index, assume_unique=True, return_indices=True)
    if not len(at_a):
        raise ConfigError(
            f"runs {first.directory} and {second.directory} were measured on different examples; give both the same bound.examples."
        )
    order = np.argsort(at_a)
    at_a, at_b = at_a[order], at_b[order]
    grid = common_grid([first.log_snr, second.log_snr])
    reached = [up_to(m.log_snr, grid) for m in (first, second)]
    space = tuple(dict.fromkeys([*first.parts, *second.parts]))
    sums, over_log_snr, draws = Moments(len(SUMS) + len(space)), Moments(len(grid) + 1), Moments(1)
    steps = _Steps(first.T) if first.T == second.T else None
    size = max(1, CELLS // (max(first.T, second.T) + 1))
    for start in range(0, len(at_a), size):
        tables = a.table(at_a[start : start + size]), b.table(at_b[start : start + size])
        here = [first.space(space, at_a[start : start + size]), second.space(space, at_b[start : start + size])]
        parts = [groups(table.nats, added) for table, added in zip(tables, here)]
        before = [added.sum(1, keepdims=True) for added in here]
        running = [np.cumsum(table.nats[:, 1:], 1) + each for table, each in zip(tables, before)]
        sums.add(_minus(parts))
        curves = [spent(table.nats, r, *where) for table, r, where in zip(tables, running, reached)]
        over_log_snr.add(_minus([np.append(curve, part[:, :1], 1) for curve, part in zip(curves, parts)]))
        if (by_draw := _by_draw(tables)) is not None:
            draws.add(by_draw)
        if steps:
            steps.add(tables, running)
    split = draws.n == len(at_a) and draws.draws > 1
    scale = first.scale
    return Paired(
        first=first,
        second=second,
        sums=_scaled(sums, scale),
        grid=np.append(grid, -math.inf),
        over_log_snr=_scaled(over_log_snr, scale),
        per_step=steps.result(scale) if steps else None,
        between=float(draws.between[0] * scale) if split else math.nan,
        noise=float(draws.noise[0] * scale) if split else math.nan,
        space=space,
    )


class _Steps:
    """Adds up what PerStep holds."""

    def __init__(self, T: int) -> None:
        self.edges = log_edges(T, POOLS)
        self.terms, self.cumulative, self.pools = Moments(T + 1), Moments(T), Moments(len(self.edges) - 1)
        self.evaluated, self.both, self.either = np.zeros(T + 1, np.int64), 0, 0

    def add(self, tables: Sequence[Table], running: Sequence[np.ndarray]) -> None:
        """Terms [n, T + 1] of each and their sums over what a space adds and 1..t, [n, T]."""
        self.terms.add(_minus([table.nats for table in tables]))
        self.cumulative.add(_minus(running))
        plain = [np.insert(np.cumsum(table.nats[:, 1:], 1), 0, 0.0, 1) for table in tables]  # [:, t - 1]: terms below t
        self.pools.add(_minus([sums[:, self.edges[1:] - 1] - sums[:, self.edges[:-1] - 1] for sums in plain]))
        both, either = tables[0].seen & tables[1].seen, tables[0].seen | tables[1].seen
        self.evaluated += both.sum(0)
        self.both += int(both[:, 1:].sum())
        self.either += int(either[:, 1:].sum())

    def result(self, scale: float) -> PerStep:
        return PerStep(
            terms=_scaled(self.terms, scale),
            cumulative=_scaled(self.cumulative, scale),
            edges=self.edges,
            pools=_scaled(self.pools, scale),
            evaluated=self.evaluated,
            shared=self.both / self.either if self.either else math.nan,
        )


def _scaled(moments: Moments, scale: float) -> Differences:
    return Differences(moments.mean * scale, moments.se * scale, moments.n)


def groups(nats: np.ndarray, space: np.ndarray) -> np.ndarray:
    """SUMS of each example and what its space adds [n, S], [n, 4 + S], from its terms [n, T + 1]."""
    parts = [nats[:, 0], nats[:, 2:].sum(1), nats[:, 1], *space.T]
    return np.stack([sum(parts), *parts], 1)


def common_grid(chains: Sequence[np.ndarray]) -> np.ndarray:
    """inf, then POINTS levels from the highest log SNR that any of the chains reaches to the lowest, zero signal aside."""
    levels = np.concatenate([log_snr[1:] for log_snr in chains])
    levels = levels[np.isfinite(levels)]
    return np.append(math.inf, np.linspace(levels.max(), levels.min(), POINTS) if len(levels) else [])


def up_to(log_snr: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k, share), [G] each: by each level of the grid L_0 .. the k-th term are spent, and this share of the next one.

    A term is spread evenly over its step in log SNR, as in "bits per log SNR": at a point, the few long steps at the
    clean end would jump past each other. L_0 is there from the beginning.
    """
    reached = np.maximum(np.searchsorted(-log_snr[1:], -grid, side="right"), 1)
    before, after = log_snr[reached], np.append(log_snr, -math.inf)[reached + 1]
    with np.errstate(invalid="ignore"):
        share = np.where(np.isfinite(after) & (grid < before), (before - grid) / (before - after), 0.0)
    return reached, share


def spent(nats: np.ndarray, running: np.ndarray, reached: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Sums up to each level of the grid, [n, G]; see `up_to`."""
    following = np.append(nats[:, 2:], np.zeros((len(nats), 1)), 1)  # [:, k - 1]: the term after k of them
    return running[:, reached - 1] + share * following[:, reached - 1]


def _minus(pair: Sequence[np.ndarray]) -> np.ndarray:
    """[n, size] each -> the difference as Moments take it, [n, 1, size]."""
    return (pair[0] - pair[1])[:, None, :]


def _by_draw(tables: Sequence[Table]) -> np.ndarray | None:
    """The difference of the bounds by each draw, [n, draws, 1], where both have the same draws."""
    a, b = (table.totals for table in tables)
    return None if a is None or b is None or a.shape != b.shape else (a - b)[:, :, None]


def needed(difference: float, se: float, n: int, alpha: float = ALPHA) -> float:
    """How many examples would make a difference of this size exceed its interval at the level `alpha`; inf for none.

    Free of power: with so many, half of all repetitions would be significant.
    """
    if difference == 0:
        return math.inf
    return n * (quantile(n - 1, alpha) * se / abs(difference)) ** 2
