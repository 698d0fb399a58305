"""How long must a chain be? The bound of Gaussian data is known in closed form under every schedule, so the price of T
steps is known before anything is trained.

Data N(m, S), S with eigenvalues l_i, its exact predictor: Var(x_0|x_t) has the eigenvalues V_i(t) = l_i / (1 + SNR_t l_i).
With a reverse variance of its own for each eigen-direction the bound is entropy + KL(q(x_T) || N(0, I)) for every T
(Gaussian steps back are exact). What a chain of T steps costs more is the price of one variance v for all directions,

    gap = sum over t = 2..T of [ KL(s, t) - 1/2 sum_i log((1 + SNR_s l_i) / (1 + SNR_t l_i)) ]       `steps`
          + 1/2 [ dims (log v_1 + mean V(1) / v_1) - sum_i (log V_i(1) + 1) ]                        `decoder`

where KL(s, t) is the jump's cost (bound/chain.py) at the error mean_i V_i(t). With the best v, or with beta, `steps` falls
like 1/T; `decoder` is what x_1 leaves open, and falls with T as far as the schedule's first level comes closer to the data.
Real data are no Gaussian and pay more, because Var(x_0|x_t) differs between examples, too: on Fashion-MNIST (cosine, parts
of a chain of 1,000, best isotropic variance) K = 10, 100, 400 steps cost 1.87, 0.55, 0.15 bits/dim more than all, of which
this accounts for 0.33, 0.05, 0.01. So a chain that is too short here is too short; after training bound/*-chains.csv tells
the model's own price. Everything is float64 NumPy, in nats per example.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..data.base import Data
from ..errors import ConfigError
from ..schedule.base import Schedule
from .chain import VARIANCES, Jumps, expm1_minus

MAX_WORK = 1e11  # examples x dims^2 spent on a covariance: a few seconds
MAX_DIMS = 4096  # beyond it so many examples have no covariance of full rank, and its eigenvalues take minutes
CHUNK = 4096  # examples in memory at a time
LONGEST = 100_000  # steps; a chain that needs more needs another schedule
CELLS = 1 << 22  # values in memory at a time


@dataclass(frozen=True)
class Spectrum:
    """What the bound of Gaussian data depends on: eigenvalues [D] of the covariance, and the squared length of the mean."""

    eigenvalues: np.ndarray
    mean_square: float

    @property
    def dims(self) -> int:
        return len(self.eigenvalues)


def spectrum(data: Data) -> Spectrum:
    """Of the training split (its first MAX_WORK / dims^2 examples) in the model's units. Data on a grid count as spread
    evenly over their bins, else constant pixels had no density: width^2/12 more in every direction. ConfigError beyond
    MAX_DIMS."""
    if data.dims > MAX_DIMS:
        raise ConfigError(
            f"data={type(data).__name__} has {data.dims:,} dimensions, and the covariance that this needs is computed up to {MAX_DIMS:,}; "
            "choose smaller pictures."
        )
    x = data.train.x[: max(1, int(MAX_WORK / data.dims**2))]
    # some place near the mean, so that nothing cancels when the mean itself is subtracted at the end
    origin = data.to_unit(x[torch.arange(min(CHUNK, len(x)))]).flatten(1).double().mean(0)
    total, square = torch.zeros_like(origin), torch.zeros(data.dims, data.dims, dtype=torch.float64)
    for part in x.split(CHUNK):
        centred = data.to_unit(part).flatten(1).double() - origin
        total += centred.sum(0)
        square.addmm_(centred.T, centred)
    shift = total / len(x)
    covariance = square / len(x) - torch.outer(shift, shift)
    bin_variance = (2 / (data.levels - 1)) ** 2 / 12 if data.levels else 0.0
    eigenvalues = torch.linalg.eigvalsh(covariance).clamp(min=0) + bin_variance
    return Spectrum(eigenvalues.numpy(), float((origin + shift).square().sum()))


@dataclass(frozen=True)
class Price:
    """Of one schedule, nats per example. prior_kl: E[L_T]; prior_mismatch: KL(q(x_T) || N(0, I)), the part of it that no
    model could save; steps, decoder: the two parts of the gap, for each variance of chain.VARIANCES."""

    prior_kl: float
    prior_mismatch: float
    steps: dict[str, float]
    decoder: dict[str, float]

    def gap(self, variance: str) -> float:
        return self.steps[variance] + self.decoder[variance]


def price(schedule: Schedule, data: Spectrum) -> Price:
    """What T steps of this schedule cost Gaussian data of this spectrum."""
    log_snr, eigenvalues, dims = schedule.log_snr.detach().numpy(), data.eigenvalues, data.dims
    first, last = np.exp(log_snr[1]), np.exp(log_snr[-1])
    error = _mean_error(log_snr, eigenvalues)
    t = np.arange(2, schedule.T + 1)
    exact = 0.5 * float((np.log1p(first * eigenvalues) - np.log1p(last * eigenvalues)).sum())
    left = eigenvalues / (1 + first * eigenvalues)
    with np.errstate(divide="ignore"):  # continuous data without extent in some direction: no v is small enough
        log_left = float(np.log(left).sum())
        log_v = {
            "fixed_beta": -np.logaddexp(0, log_snr[1]),
            "fixed_beta_tilde": float(schedule.first_log_var.detach()),
            "optimal": float(np.log(error[1])),
        }
    alpha2, log_sigma2 = 1 / (1 + np.exp(-log_snr[-1])), -np.logaddexp(0, log_snr[-1])
    signal = alpha2 * (float(eigenvalues.sum()) + data.mean_square)
    noised = alpha2 * (eigenvalues - 1)  # eigenvalues of q(x_T)'s covariance, less 1
    return Price(
        prior_kl=0.5 * (dims * float(expm1_minus(np.array([log_sigma2]))[0]) + signal),
        prior_mismatch=0.5 * (float((noised - np.log1p(noised)).sum()) + alpha2 * data.mean_square),
        steps={
            name: float(Jumps(log_snr, error, error, dims, name).cost(t - 1, t).sum()) - exact for name in VARIANCES
        },
        decoder={
            name: 0.5 * (dims * (log_v[name] + error[1] * math.exp(-log_v[name]) - 1) - log_left) for name in VARIANCES
        },
    )


def _mean_error(log_snr: np.ndarray, eigenvalues: np.ndarray) -> np.ndarray:
    """mean_i V_i(t), [T + 1] (slot 0: 0)."""
    error, size = np.zeros(len(log_snr)), max(1, CELLS // len(eigenvalues))
    for start in range(1, len(log_snr), size):
        snr = np.exp(log_snr[start : start + size, None])
        error[start : start + size] = (eigenvalues / (1 + snr * eigenvalues)).mean(1)
    return error


def shortest(make: Callable[[int], Schedule], data: Spectrum, variance: str, gap: float) -> int | None:
    """The smallest T whose chain `make(T)` costs no more than `gap` nats per example; None if LONGEST does not, either.

    By doubling and bisection: T - 1 costs more, or is refused (ConfigError) by the schedule.
    """

    def enough(T: int) -> bool:
        try:
            schedule = make(T)
        except ConfigError:
            return False
        return price(schedule, data).gap(variance) <= gap

    low, high = 0, 1
    while not enough(high):
        if high == LONGEST:
            return None
        low, high = high, min(2 * high, LONGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
