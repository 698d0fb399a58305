"""Progressive coding: the bits spent by the time x_t is known, and how well x_0 is known then (Ho et al. 2020, sec. 4.3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..tables import Columns
from .smooth import mse_of_x0

if TYPE_CHECKING:
    from .ledger import Ledger


def rate_distortion(ledger: Ledger, levels: int | None, rate_se: np.ndarray | None = None) -> Columns:
    """Rows t = T..1, the order in which x_t is sent (DDPM's figure 5).

    rate: L_T + sum of L_{u-1} over u > t in the ledger's unit, the bits that own x_t; step_rate: L_{t-1}, what the next
    step will add (0 at t = 1: the decoder is no step). distortion: root mean squared error of x0_hat(x_t) on the scale
    of the data's levels 0..levels - 1, which span [-1, 1]; in data units if `levels` is None. A t with few
    draws borrows its neighbours' error of v, which changes slowly with t (NaN where nothing was drawn).

    rate_se [T + 1], by t, slot 0 unused: from per-example sums, because terms of one example are correlated and the
    rows' errors do not add up; NaN unless given.
    """
    column, key = ledger.columns, ledger.unit.key
    steps = np.flatnonzero(np.isin(column["term"], ("decoder_nll", "transition_kl")))
    steps = steps[np.argsort(column["t"][steps])]  # t = 1..T
    nats = np.where(column["term"][steps] == "transition_kl", column[key][steps], 0.0)
    prior = column[key][column["term"] == "prior_kl"].sum()
    falling = slice(None, None, -1)
    step_rate = nats[falling]
    log_snr = column["log_snr_t"][steps]
    mse_x0 = _smooth(column["mse_x0"][steps], column["count"][steps], log_snr)
    return {
        "t": column["t"][steps][falling].astype(np.int64),
        "log_snr": log_snr[falling],
        "rate": prior + np.cumsum(step_rate) - step_rate,
        "rate_se": np.full(len(steps), math.nan) if rate_se is None else rate_se[:0:-1],
        "distortion": np.sqrt(mse_x0[falling]) * (1.0 if levels is None else (levels - 1) / 2),
        "step_rate": step_rate,
    }


def _smooth(mse_x0: np.ndarray, count: np.ndarray, log_snr: np.ndarray) -> np.ndarray:
    """mse_x0 [T], each t's own where it has draws enough, else with its neighbours'."""
    sums = np.append(0.0, np.where(count > 0, mse_x0 * count, 0.0))
    return mse_of_x0(sums, np.append(0, count), np.append(math.inf, log_snr))[1:]


def table4(columns: Columns, parts: int = 10) -> Columns:
    """DDPM's table 4 from `rate_distortion`: the chain cut into `parts` equal ranges, from t = T down; one row each.

    reverse_steps: T - t + 1 at the range's end; rate: what the steps of all ranges so far have cost together with L_T,
    the paper's column; part_rate: this range's share of it (L_T is in the first); distortion at the range's end. The last
    row is t = 1, decoder excluded. A chain shorter than `parts` has a row for each t.
    """
    T = len(columns["t"])
    rows = np.unique(np.ceil(np.arange(1, parts + 1) * T / parts).astype(np.int64)) - 1  # places in t = T..1
    rate = columns["rate"][rows]
    return {
        "reverse_steps": rows + 1,
        "t": columns["t"][rows],
        "rate": rate,
        "part_rate": np.diff(rate, prepend=0.0),
        "distortion": columns["distortion"][rows],
    }
