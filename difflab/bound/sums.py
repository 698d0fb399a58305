"""One pass over an estimate's rows: everything that tables, totals and standard errors are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .estimate import Estimate
from .moments import Moments

# for delete-a-group jackknife errors of what is no plain mean: an example belongs to group position % GROUPS
GROUPS = 20

PARTS = ("prior_kl", "transition_kl", "decoder_nll")  # and then the space's


def parts(table: np.ndarray, prior: np.ndarray, space: Sequence[np.ndarray] = ()) -> np.ndarray:
    """[n, draws, 4 + space]: the bound, its PARTS and the space's [n] of each example by each draw, from its terms
    [n, draws, T + 1]."""
    decoder, transition = table[:, :, 1], table[:, :, 2:].sum(2)
    prior, *others = (np.broadcast_to(values[:, None], decoder.shape) for values in (prior, *space))
    return np.stack([sum(others, start=prior + transition + decoder), prior, transition, decoder, *others], 2)


def fixed(totals: np.ndarray) -> np.ndarray:
    """L_T and the space's parts together, from (bound, *PARTS, *space) along the last axis."""
    return sum(np.moveaxis(totals[..., 1 + len(PARTS) :], -1, 0), start=totals[..., 1])


@dataclass
class Sums:
    """Nats per example unless said otherwise; [T + 1] arrays have slot t at t and nothing in slot 0."""

    estimate: Estimate
    per_t: dict[str, Moments]  # of every column in nats
    totals: dict[str, Moments]  # of the bound, PARTS and the space's parts, for the own and other variances
    rate: Moments  # [T]: L_T + the sum of L_{u-1} over u > t, t = 1..T
    count: np.ndarray  # rows at each t
    out_of_range: np.ndarray  # sum over rows
    group_count: np.ndarray  # [GROUPS, T + 1]
    group_mse_x0: np.ndarray  # sums over rows, per dimension
    group_totals: dict[str, np.ndarray]  # [GROUPS, 4 + space] sums over examples
    group_examples: np.ndarray  # [GROUPS]

    @property
    def mse_x0(self) -> np.ndarray:
        """Mean over the rows at each t; NaN where there are none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.group_mse_x0.sum(0) / self.count

    def leave_one_group_out(self) -> tuple[np.ndarray, np.ndarray]:
        """(sums of mse_x0, counts) without each group, [GROUPS, T + 1]; groups without examples are left out."""
        used = self.group_examples > 0
        values, counts = self.group_mse_x0[used], self.group_count[used]
        return values.sum(0) - values, counts.sum(0) - counts

    def totals_without(self, name: str) -> np.ndarray:
        """Mean of (bound, *PARTS, *space) over the examples outside each group, [GROUPS, 4 + space]."""
        used = self.group_examples > 0
        values, counts = self.group_totals[name][used], self.group_examples[used]
        return (values.sum(0) - values) / (counts.sum() - counts)[:, None]


def add_up(estimate: Estimate) -> Sums:
    """Read the rows once, a block of examples at a time."""
    T = estimate.T
    nats = [name for name in estimate.columns if name not in ("mse_x0", "out_of_range")]
    bounds, width = [*estimate.bounds.values()], 1 + len(PARTS) + len(estimate.parts)
    sums = Sums(
        estimate,
        per_t={name: Moments(T + 1) for name in nats},
        totals={name: Moments(width) for name in bounds} | {n: Moments(1) for n in ("mean_error", "variance_mismatch")},
        rate=Moments(T),
        count=np.zeros(T + 1, np.int64),
        out_of_range=np.zeros(T + 1),
        group_count=np.zeros((GROUPS, T + 1)),
        group_mse_x0=np.zeros((GROUPS, T + 1)),
        group_totals={name: np.zeros((GROUPS, width)) for name in bounds},
        group_examples=np.zeros(GROUPS, np.int64),
    )
    for block in estimate.blocks():
        here = slice(block.first, block.first + block.examples)
        prior, space = estimate.prior_kl[here], [values[here] for values in estimate.parts.values()]
        group = (block.first + np.arange(block.examples)) % GROUPS
        for name in nats:
            table = block.table(name)
            sums.per_t[name].add(table)
            if name in bounds:
                each = parts(table, prior, space)
                sums.totals[name].add(each)
                np.add.at(sums.group_totals[name], group, each.mean(1))
            elif name in sums.totals:
                sums.totals[name].add(table[:, :, 2:].sum(2, keepdims=True))
            if name == "nats":
                later = table[:, :, 2:][:, :, ::-1].cumsum(2)[:, :, ::-1]  # sum over u >= t, t = 2..T
                last = np.zeros((*later.shape[:2], 1))
                sums.rate.add(np.concatenate([later, last], 2) + prior[:, None, None])
        sums.count += block.counts()
        sums.out_of_range += block.plain("out_of_range")
        _by_group(sums.group_count, sums.group_mse_x0, block.plan.example.numpy(), group, block)
        sums.group_examples += np.bincount(group, minlength=GROUPS)
    return sums


def _by_group(count: np.ndarray, mse: np.ndarray, example: np.ndarray, group: np.ndarray, block) -> None:
    size = count.shape[1]
    cell = group[example] * size + block.plan.t.numpy()
    count += np.bincount(cell, minlength=count.size).reshape(count.shape)
    mse += np.bincount(cell, block.column("mse_x0"), minlength=mse.size).reshape(mse.shape)


def in_units(moments: Moments, scale: float, name: str, i: int = 0) -> Mapping[str, float]:
    """{name, name_se} and, with two or more draws, {name_se_between, name_se_noise}: one entry of `moments`, scaled."""
    values = {name: float(moments.mean[i] * scale), f"{name}_se": float(moments.se[i] * scale)}
    if moments.draws > 1:
        values |= {
            f"{name}_se_between": float(moments.between[i] * scale),
            f"{name}_se_noise": float(moments.noise[i] * scale),
        }
    return values
