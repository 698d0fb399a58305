"""What follows from evaluated terms without another network call."""

from __future__ import annotations

import math

import numpy as np

from ..tables import Columns
from .estimate import Estimate
from .ledger import terms, times
from .moments import Moments
from .smooth import mse_of_x0
from .sums import GROUPS, PARTS, Sums, add_up, in_units


def variance_totals(sums: Sums) -> dict[str, dict[str, float]]:
    """{variance: the bound and its parts with standard errors}: the same mean scored with `own` and every other one."""
    unit, scale = sums.estimate.unit, sums.estimate.scale
    result: dict[str, dict[str, float]] = {}
    for name, column in sums.estimate.bounds.items():
        result[name] = {}
        for i, part in enumerate((unit.key, *PARTS)):
            result[name] |= in_units(sums.totals[column], scale, part, i)
    return result


def variance_table(sums: Sums) -> Columns:
    """t, term and a column for each variance, rows as in the ledger: contributions that add up to that bound."""
    estimate = sums.estimate
    columns: Columns = {"t": times(estimate.T, [*estimate.parts]), "term": terms(estimate.T, [*estimate.parts])}
    last = np.append(sums.totals["nats"].mean[1], sums.totals["nats"].mean[1 + len(PARTS) :])
    for name, column in estimate.bounds.items():
        columns[name] = np.append(sums.per_t[column].mean[1:], last) * estimate.scale
    return columns


def band_table(sums: Sums) -> Columns:
    """t = 2..T, then the mean error of each frequency band and its standard error: bands add up to the mean error."""
    scale = sums.estimate.scale
    columns: Columns = {"t": np.arange(2, sums.estimate.T + 1)}
    bands = [name for name in sums.per_t if name.startswith("band_")]
    columns |= {name: sums.per_t[name].mean[2:] * scale for name in bands}
    return columns | {f"{name}_se": sums.per_t[name].se[2:] * scale for name in bands}


def optimal_variance_bound(source: Estimate | Sums) -> tuple[float, float]:
    """(bound, standard error) in the estimate's unit of the same mean with the best isotropic variance per t.

    v*_t = beta_tilde + E||mu_tilde - m||^2 / dims (Bao et al. 2022) is fitted on one half of the examples and scored on
    the other, and the other way round, so no example is scored with a variance it helped to fit: for validation, where
    no training examples are spent on it. L_0 is the model's own.
    """
    sums = add_up(source) if isinstance(source, Estimate) else source
    estimate, T = sums.estimate, sums.estimate.T
    if T == 1:  # no transition, so no variance to choose
        moments = sums.totals["nats"]
        return float(moments.mean[0] * estimate.scale), float(moments.se[0] * estimate.scale)
    halves = [np.arange(GROUPS) % 2 == half for half in (0, 1)]  # of the groups, and so of the examples' positions
    if estimate.examples < 2:
        return math.nan, math.nan
    jump = np.zeros(T + 1)  # SNR_s - SNR_t
    jump[2:] = np.exp(estimate.log_snr[1:-1]) - np.exp(estimate.log_snr[2:])
    fitted = np.ones((2, T + 1))  # v*_t / beta_tilde for the examples of each half
    for half, others in enumerate(reversed(halves)):
        values, count = sums.group_mse_x0[others].sum(0), sums.group_count[others].sum(0)
        fitted[half] = 1 + jump * mse_of_x0(values, count, estimate.log_snr)
    total = Moments(1)
    for block in estimate.blocks():
        t, example = block.plan.t.numpy(), block.plan.example.numpy()
        ratio = fitted[(block.first + example) % 2, t]
        own = 1 + jump[t] * block.column("mse_x0")
        nats = np.where(t > 1, 0.5 * estimate.dims * (np.log(ratio) - 1 + own / ratio), block.column("nats"))
        each = np.bincount(example, nats * block.plan.weight.numpy(), minlength=block.examples)
        fixed = estimate.fixed[block.first : block.first + block.examples]
        total.add((fixed + each)[:, None, None])
    return float(total.mean[0] * estimate.scale), float(total.se[0] * estimate.scale)
