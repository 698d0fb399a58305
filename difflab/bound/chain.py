"""Shorter chains priced from one evaluation: what each jump t -> s costs, and which K levels cost least.

A jump's expected KL depends on nothing but its two log-SNRs and the error of x0_hat at t, so the terms of the full chain
price every chain through its levels (Watson et al. 2021; Bao et al. 2022, "Analytic-DPM", the optimal trajectory).

With r = log v - log beta_tilde of the jump and d = (SNR_s - SNR_t) E||x_0 - x0_hat(x_t)||^2 / dims,

    KL(s, t) = dims/2 [exp(-r) (1 + d) - 1 + r]      nats per example

Everything is float64 NumPy. Arrays over a chain are [T + 1], slot 0 for clean data; `mse_x0` is per dimension (slot 0
unused) and finite: `smooth.window_mean` fills what was not drawn. A chain is its times, int64 [K], rising, 1 and T kept:
L_0 is known at t = 1 and L_T at t = T.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import gaussian
from ..errors import ConfigError
from ..schedule import base
from ..tables import Columns
from .moments import jackknife

if TYPE_CHECKING:
    from ..gaussian import Unit

STEPS = (2, 5, 10, 25, 50, 100, 200, 400)  # of the table; T itself is added
CANDIDATES = 1000  # levels that an optimal chain chooses from: memory grows with their square, time with K times that

EVALUATED = ("evaluated", "evaluated_se", "difference", "difference_se")  # columns for an actual K-step evaluation

# log v - log beta_tilde of a jump from (log_snr_s, log_snr_t, d as it was on the data the variance is fitted to)
LogRatio = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

VARIANCES: dict[str, LogRatio] = {
    "fixed_beta": lambda log_snr_s, log_snr_t, d: np.logaddexp(0, log_snr_s) - np.logaddexp(0, log_snr_t),
    "fixed_beta_tilde": lambda log_snr_s, log_snr_t, d: np.zeros_like(d),
    "optimal": lambda log_snr_s, log_snr_t, d: np.log1p(d),
}


def expm1_minus(k: np.ndarray) -> np.ndarray:
    """exp(k) - 1 - k to full relative precision for every k (gaussian.expm1_minus)."""
    return gaussian.expm1_minus(torch.as_tensor(k)).numpy()


@dataclass(frozen=True)
class Jumps:
    """The jumps of a chain under one variance: log_snr [T + 1]; the error they are scored with, mse_x0 [..., T + 1]; the
    error that `optimal` is fitted to, fit_mse_x0 [T + 1] (from other data, or it flatters itself)."""

    log_snr: np.ndarray
    mse_x0: np.ndarray
    fit_mse_x0: np.ndarray
    dims: int
    variance: str

    @property
    def T(self) -> int:
        return len(self.log_snr) - 1

    def cost(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Expected KL of each jump t -> s in nats per example, [..., *t.shape]; 1 <= s < t <= T."""
        d, d_fit = self._error(self.mse_x0, s, t), self._error(self.fit_mse_x0, s, t)
        r = VARIANCES[self.variance](self.log_snr[s], self.log_snr[t], d_fit)
        return 0.5 * self.dims * (expm1_minus(-r) + np.exp(-r) * d)

    def _error(self, mse_x0: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """d = SNR_s c mse: a product of logarithms, so that neither a huge SNR nor SNR_t = 0 spoils it."""
        with np.errstate(divide="ignore"):
            log_mse = np.log(mse_x0[..., t])
        return -np.expm1(self.log_snr[t] - self.log_snr[s]) * np.exp(self.log_snr[s] + log_mse)


def bound_of(
    times: np.ndarray, jumps: Jumps, prior_kl: float | np.ndarray, decoder_nll: float | np.ndarray
) -> np.ndarray:
    """L_T + the jumps of the chain `times` + L_0 in nats per example, [...] as mse_x0. ValueError if 1 or T is missing."""
    if times[0] != 1 or times[-1] != jumps.T or (np.diff(times) <= 0).any():
        raise ValueError(f"a chain whose bound is known rises from t = 1 to t = T = {jumps.T}, not {times.tolist()}")
    return prior_kl + jumps.cost(times[:-1], times[1:]).sum(-1) + decoder_nll


def even(T: int, K: int) -> np.ndarray:
    """K evenly spaced times that keep 1 and T (K = 1 keeps T)."""
    return base.even(T, K).numpy()


def candidates(T: int) -> np.ndarray:
    """The levels an optimal chain chooses from: all of them up to T = CANDIDATES; of longer chains every t of the first
    CANDIDATES / 2, where the bits are, and as many more evenly spaced up to T."""
    if T <= CANDIDATES:
        return np.arange(1, T + 1)
    dense = CANDIDATES // 2
    spaced = np.round(np.linspace(dense + 1, T, CANDIDATES - dense)).astype(np.int64)
    return np.concatenate([np.arange(1, dense + 1), spaced])


def cost_matrix(jumps: Jumps, levels: np.ndarray) -> np.ndarray:
    """float64 [n, n]: entry (j, i) is the cost of the jump levels[j] -> levels[i]; inf where i >= j."""
    cost = np.full((len(levels), len(levels)), math.inf)
    noisier, cleaner = np.tril_indices(len(levels), -1)
    cost[noisier, cleaner] = jumps.cost(levels[cleaner], levels[noisier])
    return cost


@dataclass(frozen=True)
class Chains:
    """The cheapest chains of each length: totals [K_max + 1], the summed jumps in nats (inf: there is no such chain)."""

    levels: np.ndarray
    totals: np.ndarray
    _cleaner: list[np.ndarray] = field(
        repr=False
    )  # [K - 2][j]: the level before j on the best K-level chain that ends in j

    def times(self, K: int) -> np.ndarray:
        """int64 [K], rising. ValueError where there is no chain of K levels."""
        if not 1 <= K < len(self.totals) or math.isinf(self.totals[K]):
            raise ValueError(f"there is no chain of {K} of these {len(self.levels)} levels")
        places = [len(self.levels) - 1]
        for best in self._cleaner[: K - 1][::-1]:
            places.append(int(best[places[-1]]))
        return self.levels[places[::-1]]


def optimal(cost: np.ndarray, K_max: int, levels: np.ndarray | None = None) -> Chains:
    """The cheapest chain through exactly K levels, first and last kept, for every K up to K_max, by dynamic programming.

    cost [n, n]: entry (j, i) is the cost of the jump from level j to the cleaner level i < j, finite there (ValueError);
    levels int64 [n]: what the levels are called, 1..n unless given. K_max n^2 operations.
    """
    n = len(cost)
    levels = np.arange(1, n + 1) if levels is None else levels
    K_max = min(K_max, n)
    cost = np.where(np.tri(n, k=-1, dtype=bool), cost, math.inf)
    if not np.isfinite(cost[np.tril_indices(n, -1)]).all():
        raise ValueError("a jump of infinite or undefined cost: the errors it was computed from are not finite")
    best = np.where(np.arange(n) == 0, 0.0, math.inf)  # of chains with k levels from the first level to each
    totals, cleaner, rows = np.full(K_max + 1, math.inf), [], np.arange(n)
    totals[1:2] = best[-1]
    through = np.empty_like(cost)
    for k in range(2, K_max + 1):
        np.add(cost, best, out=through)
        choice = through.argmin(1)
        best = through[rows, choice]
        cleaner.append(choice.astype(np.int32))
        totals[k] = best[-1]
    return Chains(levels, totals, cleaner)


def check_optimal(T: int, K: int) -> None:
    """ConfigError if a chain of T steps has no optimal part of K steps."""
    most = len(candidates(T))
    if K != T and not 2 <= K <= most:
        raise ConfigError(
            f"an optimal chain of {K} steps: it keeps t = 1 and t = T = {T}, so choose a number in 2..{most}"
            f"{'' if most == T else f' or {T}'}."
        )


def optimal_times(log_snr: np.ndarray, mse_x0: np.ndarray, K: int, variance: str = "optimal") -> np.ndarray:
    """The K levels of the cheapest chain for one variance, fitted and priced with the same mse_x0 [T + 1]."""
    T = len(log_snr) - 1
    check_optimal(T, K)
    if K == T:
        return np.arange(1, T + 1)
    levels = candidates(T)
    return optimal(cost_matrix(Jumps(log_snr, mse_x0, mse_x0, 1, variance), levels), K, levels).times(K)


@dataclass(frozen=True)
class Replicates:
    """What the chains are priced from with each of G groups of examples left out: mse_x0 [G, T + 1], prior_kl [G] and,
    for each variance, decoder_nll [G], in nats."""

    mse_x0: np.ndarray
    prior_kl: np.ndarray
    decoder_nll: Mapping[str, np.ndarray]


def table(
    log_snr: np.ndarray,
    mse_x0: np.ndarray,
    fit_mse_x0: np.ndarray,
    dims: int,
    prior_kl: float,
    decoder_nll: Mapping[str, float],
    unit: Unit,
    replicates: Replicates | None = None,
    steps: Sequence[int] = STEPS,
    scale: float | None = None,
) -> Columns:
    """The bound of K-step chains, evenly spaced and optimal, for each variance: the shape of Analytic-DPM's table 1.

    fit_mse_x0, from training data, chooses the optimal chain and the optimal variance; mse_x0, held out, scores both.
    prior_kl: L_T, with whatever a space adds (nats); `scale`: nats -> the unit, where that is not per dimension of the chain.
    decoder_nll: L_0 in nats for each variance, whose own v it is at t = 1. Standard errors by the jackknife over
    `replicates` (the fit is held fixed); NaN without them. The columns of an actual K-step evaluation are left NaN for
    the caller to fill. There is no row for an optimal chain longer than CANDIDATES and shorter than T, and none for any
    where the errors are not finite (a diverged network).
    """
    T = len(log_snr) - 1
    lengths = sorted({K for K in steps if 2 <= K < T} | {T})
    levels, scale = candidates(T), scale or 1 / (dims * unit.nats)
    rows = []
    for variance in VARIANCES:
        jumps = Jumps(log_snr, mse_x0, fit_mse_x0, dims, variance)
        chains = {"even": {K: even(T, K) for K in lengths}}
        if np.isfinite(fit_mse_x0[1:]).all():
            cost = cost_matrix(Jumps(log_snr, fit_mse_x0, fit_mse_x0, dims, variance), levels)
            found = optimal(cost, max((K for K in lengths if K < T), default=1), levels)
            short = {K: found.times(K) for K in lengths if K in range(2, min(T, len(levels) + 1))}
            chains["optimal"] = short | {T: even(T, T)}
        for chain, of_length in chains.items():
            for K, times in of_length.items():
                value = float(bound_of(times, jumps, prior_kl, decoder_nll[variance])) * scale
                rows.append((K, chain, variance, value, _error(times, jumps, replicates) * scale, times))
    K, chain, variance, value, se, times = zip(*rows, strict=True)
    nothing = {name: np.full(len(rows), math.nan) for name in EVALUATED}
    return {
        "steps": np.array(K, dtype=np.int64),
        "chain": np.array(chain),
        "variance": np.array(variance),
        unit.key: np.array(value),
        f"{unit.key}_se": np.array(se),
        **nothing,
        "times": np.array([" ".join(map(str, each)) for each in times]),
    }


def _error(times: np.ndarray, jumps: Jumps, replicates: Replicates | None) -> float:
    if replicates is None:
        return math.nan
    left_out = Jumps(jumps.log_snr, replicates.mse_x0, jumps.fit_mse_x0, jumps.dims, jumps.variance)
    return float(jackknife(bound_of(times, left_out, replicates.prior_kl, replicates.decoder_nll[jumps.variance])))
