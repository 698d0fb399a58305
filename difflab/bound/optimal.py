"""Fit the best isotropic variance on training examples, so that it can be scored on held-out ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import tables
from ..diffusion import Diffusion
from ..prediction import Reading
from ..variance._optimal import Optimal
from ..variance.base import Fitted
from .base import Design
from .estimator import Examples, Extras, encoded, evaluate_modes, full_float32
from .noise import key, normal
from .smooth import mse_of_x0
from .sums import Sums, add_up

FIRST = 1000  # examples that the one variance at t = 1 is fitted to: they are held in memory for the search


@dataclass(frozen=True)
class Fit:
    """What a pass over training examples says of a mean: enough for the best variance of any step between two levels.

    log_snr [T + 1]; mse_x0 [T + 1] (slot 0: 0), the mean squared error of x0_hat per dimension, of sparse t with their
    neighbours'; first: the log variance at t = 1 that minimises L_0 (that of beta_tilde, if none enters L_0). float64.
    """

    log_snr: np.ndarray
    mse_x0: np.ndarray
    first: float

    def variance(self) -> Optimal:
        return Optimal(torch.from_numpy(self.log_snr), torch.from_numpy(self.mse_x0), self.first)

    def teach(self, variance: Fitted) -> None:
        variance.take(torch.from_numpy(self.log_snr), torch.from_numpy(self.mse_x0), self.first)


def fit(
    diffusion: Diffusion,
    examples: Examples,
    design: Design,
    device: torch.device | str,
    modes: tuple[bool, ...],
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[dict[bool, Fit], int]:
    """({clip_x0: Fit}, network evaluations) of a design on training examples."""
    estimates = evaluate_modes(diffusion, examples, design, device, dict.fromkeys(modes, Extras()), on_batch)
    nfe = estimates[0].nfe
    if diffusion.decoder.reads_variance:
        examples = examples.first(design.examples).first(FIRST)
        first, nfe = first_log_var(diffusion, examples, design, device, modes), nfe + len(examples)
    else:  # any will do
        first = dict.fromkeys(modes, float(diffusion.schedule.first_log_var.detach()))
    fits = {e.clip_x0: Fit(e.log_snr, smooth_mse_x0(add_up(e)), first[e.clip_x0]) for e in estimates}
    return fits, nfe


def smooth_mse_x0(sums: Sums) -> np.ndarray:
    """Mean squared error of x0_hat at each t, sparse t with their neighbours', [T + 1]."""
    return mse_of_x0(sums.group_mse_x0.sum(0), sums.count, sums.estimate.log_snr)


@torch.no_grad()
@full_float32()
def first_log_var(
    diffusion: Diffusion, examples: Examples, design: Design, device: torch.device | str, modes: tuple[bool, ...]
) -> dict[bool, float]:
    """log v at t = 1 that minimises the mean of L_0 over the examples, for each clip mode: one evaluation an example."""
    parts: list[tuple[Reading, Tensor]] = []
    for rows in torch.arange(len(examples)).split(design.batch_size):
        t = torch.ones(len(rows), dtype=torch.int64)
        keys = key(design.seed, examples.index[rows], t, torch.zeros_like(t)).to(device)
        x0 = encoded(diffusion.space, examples, rows, design.seed, device).z.to(device)
        step = diffusion.schedule.step(t)
        x_t = diffusion.process.noised(x0, step.t, normal(keys, tuple(x0.shape[1:])))
        parts.append((diffusion(x_t, step, examples.cond(rows).to(device)), x0))

    def mean_nll(log_var: float, clip: bool) -> float:
        total = 0.0
        for prediction, x0 in parts:
            fixed = (prediction.clipped() if clip else prediction).with_variance(_constant(diffusion, log_var))
            total += float(diffusion.decoder.nll(x0, fixed).double().sum())
        return total / len(examples)

    return {clip: minimise(lambda v, clip=clip: mean_nll(v, clip), -24.0, 4.0) for clip in modes}


def _constant(diffusion: Diffusion, log_var: float) -> Optimal:
    return Optimal(diffusion.schedule.log_snr, torch.zeros_like(diffusion.schedule.log_snr), log_var)


def minimise(f: Callable[[float], float], low: float, high: float, grid: int = 29, steps: int = 30) -> float:
    """Where a function of one variable is smallest: the best of a grid, then a golden-section search around it."""
    x = np.linspace(low, high, grid)
    best = int(np.argmin([f(float(v)) for v in x]))
    a, b = float(x[max(best - 1, 0)]), float(x[min(best + 1, grid - 1)])
    ratio = (math.sqrt(5) - 1) / 2
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    fc, fd = f(c), f(d)
    for _ in range(steps):
        if fc < fd:
            b, d, fd = d, c, fc
            c = b - ratio * (b - a)
            fc = f(c)
        else:
            a, c, fc = c, d, fd
            d = a + ratio * (b - a)
            fd = f(d)
    return (a + b) / 2


def save(fits: Mapping[bool, Fit], path: Path) -> Path:
    """As a table over t = 1..T: log_snr, then mse_x0 and log v at t = 1 of each mode (mse_x0_clipped, ...)."""
    log_snr = next(iter(fits.values())).log_snr
    columns = {"t": np.arange(1, len(log_snr)), "log_snr": log_snr[1:]}
    for clip, fitted in fits.items():
        columns[f"mse_x0{'_clipped' * clip}"] = fitted.mse_x0[1:]
        columns[f"first_log_var{'_clipped' * clip}"] = np.full(len(log_snr) - 1, fitted.first)
    return tables.save(path, columns)


def load(path: Path) -> dict[bool, Fit]:
    """What `save` wrote, bit by bit; ValueError for a table of something else."""
    columns = tables.load(path)
    if not {"mse_x0", "mse_x0_clipped"} & columns.keys():
        raise ValueError(f"{path} is no fit")
    log_snr = np.append(math.inf, columns["log_snr"].astype(np.float64))
    return {
        clip: Fit(log_snr, np.append(0.0, columns[f"mse_x0{suffix}"]), float(columns[f"first_log_var{suffix}"][0]))
        for clip, suffix in ((False, ""), (True, "_clipped"))
        if f"mse_x0{suffix}" in columns
    }
