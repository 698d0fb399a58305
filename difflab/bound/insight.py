"""What follows from evaluated terms without another network call."""

from __future__ import annotations

import math

import numpy as np

from .estimator import Estimate


def optimal_variance_bound(estimate: Estimate) -> tuple[float, float]:
    """(bound, standard error) in the estimate's unit of the same mean with the best isotropic variance per t.

    v*_t = beta_tilde + E||mu_tilde - m||^2 / dims (Bao et al. 2022) is fitted on one half of the examples and scored on
    the other, and the other way round, so the figure is honest: no example is scored with a variance it helped to fit.
    Sparse t borrow from their neighbours (the mean of mse_eps over a window of t with at least 8 rows). L_0 is the model's own.
    """
    t, example = estimate.plan.t.numpy(), estimate.plan.example.numpy()
    log_snr = estimate.log_snr
    later = t > 1
    if not later.any():  # T = 1: no transition, so no variance to choose
        return mean_and_error(estimate, estimate.totals())
    nats = estimate.values["nats"].astype(np.float64).copy()
    # (mse of mu) / beta_tilde = (SNR_s - SNR_t) mse_x0: c0^2 / beta_tilde = SNR_s c
    jump = np.exp(log_snr[1:-1]) - np.exp(log_snr[2:])  # SNR_s - SNR_t for t = 2..T
    error = estimate.values["mse_x0"].astype(np.float64)
    for half in (0, 1):
        fit, score = later & (example % 2 != half), later & (example % 2 == half)
        if not fit.any() or not score.any():
            return math.nan, math.nan
        mse_eps = _window_mean(t[fit], error[fit] * np.exp(log_snr[t[fit]]), estimate.T, 8)
        fitted = 1 + jump * (mse_eps[2:] / np.exp(log_snr[2:]))  # v*_t / beta_tilde
        ratio = fitted[t[score] - 2]
        own = 1 + jump[t[score] - 2] * error[score]
        nats[score] = 0.5 * estimate.dims * (np.log(ratio) - 1 + own / ratio)
    return mean_and_error(estimate, estimate.prior_kl + estimate.per_draw(nats).mean(1))


def mean_and_error(estimate: Estimate, totals: np.ndarray) -> tuple[float, float]:
    """Mean over examples and its standard error (NaN for one example) of nats [N], in the estimate's unit per dim."""
    scale = 1 / (estimate.dims * estimate.unit.nats)
    error = totals.std(ddof=1) / math.sqrt(len(totals)) if len(totals) > 1 else math.nan
    return float(totals.mean() * scale), float(error * scale)


def _window_mean(t: np.ndarray, values: np.ndarray, T: int, least: int) -> np.ndarray:
    """Mean of `values` around each t = 0..T over the smallest symmetric window that holds `least` of them (or all)."""
    count = np.concatenate([[0], np.cumsum(np.bincount(t, minlength=T + 1))])
    total = np.concatenate([[0.0], np.cumsum(np.bincount(t, values, minlength=T + 1))])
    mean = np.empty(T + 1)
    for centre in range(T + 1):
        width = 0
        while True:
            low, high = max(centre - width, 0), min(centre + width + 1, T + 1)
            if count[high] - count[low] >= min(least, len(t)):
                mean[centre] = (total[high] - total[low]) / (count[high] - count[low])
                break
            width += 1
    return mean
