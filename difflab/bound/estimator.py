"""Evaluate the bound: run a design's rows through the network, keep every term, add up with standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..diffusion import Diffusion, Prediction
from ..gaussian import Unit, per_example
from .base import Design, Plan
from .noise import key, normal
from .terms import bound_term

MEASURED = ("nats", "mean_error", "variance_mismatch", "mse_x0", "out_of_range")


@dataclass(frozen=True)
class Examples:
    """Held-out data in the model's units: x0 float32 [N, ...] and each example's fixed id, int64 [N]."""

    x0: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def first(self, count: int | None) -> Examples:
        return self if count is None else Examples(self.x0[:count], self.index[:count])


@dataclass(frozen=True)
class Estimate:
    """Every evaluated term, unweighted (nats per example), with the plan that says what each stands for."""

    plan: Plan
    values: dict[str, np.ndarray]  # MEASURED, float32 [R]; mse_* per dimension
    prior_kl: np.ndarray  # float64 [N] nats
    index: np.ndarray  # int64 [N]
    log_snr: np.ndarray  # float64 [T + 1], the evaluated chain
    dims: int
    unit: Unit
    clip_x0: bool
    draws: int

    @property
    def examples(self) -> int:
        return len(self.index)

    @property
    def T(self) -> int:
        return len(self.log_snr) - 1

    @property
    def nfe(self) -> int:
        return len(self.plan.t)

    def per_draw(self, values: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Weighted sums of some rows' values for each (example, draw): float64 [N, draws]; their mean over draws is
        the example's estimate."""
        cell = self.plan.example.numpy()[rows] * self.draws + self.plan.draw.numpy()[rows]
        weighted = values[rows].astype(np.float64) * self.plan.weight.numpy()[rows] * self.draws
        return np.bincount(cell, weighted, minlength=self.examples * self.draws).reshape(self.examples, self.draws)

    def totals(self) -> np.ndarray:
        """The bound of each example, nats, float64 [N]."""
        return self.prior_kl + self.per_draw(self.values["nats"]).mean(1)


def evaluate(
    diffusion: Diffusion,
    examples: Examples,
    design: Design,
    device: torch.device | str = "cpu",
    *,
    clip_x0: bool | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Estimate:
    """The bound of `diffusion` on the design's examples, in float32.

    `on_batch(done, total)` is called after every batch of network evaluations; what it raises stops the evaluation.
    """
    return evaluate_modes(
        diffusion, examples, design, device, (design.clip_x0 if clip_x0 is None else clip_x0,), on_batch
    )[0]


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
    clip_modes: tuple[bool, ...],
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Estimate]:
    """One Estimate for each clip mode from one pass of network evaluations: two models, scored apart, never mixed."""
    examples = examples.first(design.examples)
    schedule = diffusion.schedule
    plan = design.plan(examples.index, schedule.T)
    shape = tuple(examples.x0.shape[1:])
    dims = math.prod(shape)
    collected: list[dict[str, list[Tensor]]] = [{name: [] for name in MEASURED} for _ in clip_modes]
    # Rows sorted by t would give every batch one noise level; in plan order a batch mixes them, as in training.
    for start in range(0, len(plan.t), design.batch_size):
        rows = slice(start, start + design.batch_size)
        position, t = plan.example[rows], plan.t[rows]
        keys = key(design.seed, examples.index[position], t, plan.draw[rows]).to(device)
        eps = normal(keys, shape)
        x0 = examples.x0[position].to(device)
        step = schedule.step(t)
        prediction = diffusion(diffusion.process.noised(x0, step.t, eps), step)
        for clip, columns in zip(clip_modes, collected, strict=True):
            for name, value in measure(diffusion, prediction.clipped() if clip else prediction, x0, eps).items():
                columns[name].append(value.float().cpu())
        if on_batch:
            on_batch(min(start + design.batch_size, len(plan.t)), len(plan.t))
    top = schedule.level(torch.full((len(examples),), schedule.T))
    prior = diffusion.process.prior_kl(examples.x0.double(), top)
    return [
        Estimate(
            plan=plan,
            values={name: torch.cat(values).numpy() for name, values in columns.items()},
            prior_kl=prior.double().cpu().numpy(),
            index=examples.index.numpy(),
            log_snr=schedule.log_snr.detach().numpy(),
            dims=dims,
            unit=diffusion.decoder.unit,
            clip_x0=clip,
            draws=design.draws,
        )
        for clip, columns in zip(clip_modes, collected, strict=True)
    ]


def measure(diffusion: Diffusion, prediction: Prediction, x0: Tensor, eps: Tensor) -> dict[str, Tensor]:
    """The MEASURED quantities of each row, [B]."""
    term = bound_term(diffusion.decoder, prediction, x0, eps)
    mse_x0 = per_example(prediction.x0_error(x0, eps).square()) / x0[0].numel()
    return dict(zip(MEASURED, (*term, mse_x0, prediction.out_of_range().to(x0.device)), strict=True))
