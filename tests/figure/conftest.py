"""A ledger whose numbers look like a trained run's, without training one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from difflab.bound.ledger import COLUMNS, Ledger
from difflab.gaussian import BITS, NATS, Unit

MakeLedger = Callable[..., Ledger]


def synthetic(
    T: int = 1000, count: int = 360, unit: Unit = BITS, last_log_snr: float | None = None, seed: int = 0
) -> Ledger:
    """Cosine-like chain; L_{t-1} falls with t, learned variance; `count` draws for each t (below 8: random counts)."""
    rng = np.random.default_rng(seed)
    angle = (np.arange(T + 1) / T + 0.008) / 1.008 * math.pi / 2
    log_snr = -2 * np.log(np.tan(np.minimum(angle, angle[0] + (math.pi / 2 - angle[0]) * 0.9995)))
    log_snr[0] = math.inf
    if last_log_snr is not None:
        log_snr[-1] = last_log_snr
    t = np.arange(1, T + 1)
    counts = np.full(T, count) if count >= 8 else rng.integers(0, count + 1, T)
    mean = 0.6 * np.exp(-0.5 * ((np.log(t) - math.log(12)) / 1.5) ** 2) / t + 1e-7
    mismatch = 0.05 * mean * (1 + np.sin(np.log(t)))
    noise = np.exp(0.05 * rng.standard_normal(T)) if count >= 8 else counts / max(count / 2, 1)
    mean, mismatch = mean * noise, mismatch * noise
    decoder, prior = 0.42, 3e-5
    value = mean + mismatch
    value[0] = decoder
    se = np.where(counts > 0, value * 0.05, math.nan)
    if count < 8:
        se[counts == 1] = math.nan
    nan = np.full(T + 1, math.nan)

    def parts(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[math.nan], values[1:], [math.nan]])

    columns = {
        "t": np.append(t, T),
        "term": np.array(["decoder_nll"] + ["transition_kl"] * (T - 1) + ["prior_kl"]),
        "log_snr_s": np.append(log_snr[:-1], math.nan),
        "log_snr_t": np.append(log_snr[1:], log_snr[-1]),
        unit.key: np.append(value, prior),
        f"{unit.key}_se": np.append(se, 1e-6),
        "se_between": nan,
        "se_noise": nan,
        f"mean_error_{unit.key}": parts(mean),
        f"variance_mismatch_{unit.key}": parts(mismatch),
        "mse_x0": nan,
        "mse_eps": nan,
        "out_of_range": nan,
        "count": np.append(counts, 360),
    }
    assert list(columns) == [name.format(u=unit.key) for name in COLUMNS]
    total = float(columns[unit.key].sum())
    return Ledger(unit, columns, {unit.key: total, f"{unit.key}_se": 0.0103, "examples": 360, "nfe": 360 * T})


@pytest.fixture
def make_ledger() -> MakeLedger:
    return synthetic


@pytest.fixture
def nats() -> Unit:
    return NATS
