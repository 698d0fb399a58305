"""p_theta(x_s|x_t): a network read through a schedule, a parameterization and a variance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .decoder.base import Decoder
from .gaussian import Gaussian, expand, per_example
from .parameterization.base import Coefficients, Parameterization
from .process.base import Process
from .schedule.base import Schedule, Step
from .variance.base import Variance

PART = "part_"  # what a network's submodules are called that are no part of its own computation

Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # (x_t, log_snr [B], cond) -> raw [B, (1 + heads) C, ...]


def unwrapped(model: Any) -> Any:
    """The network itself, of whatever wraps it (an average, a precision, a compiler, DDP)."""
    while hasattr(model, "module"):
        model = model.module
    return model


def adopt(network: nn.Module, parts: Mapping[str, Any]) -> None:
    """Make those parts of the diffusion (by the name of their field) that are modules submodules of the network: optimizer,
    average, checkpoint and ranks then treat what they learn or remember as they do its weights. Every backward pass of
    training must reach all of a part's parameters (DistributedDataParallel waits for them)."""
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            network.add_module(PART + name, part)


def adopted(network: Any) -> dict[str, Any]:
    """{field: part} of what the network, or what is wrapped, has adopted."""
    network = unwrapped(network)
    children = network.named_children() if isinstance(network, nn.Module) else ()
    return {name.removeprefix(PART): child for name, child in children if name.startswith(PART)}


@dataclass(frozen=True)
class Prediction:
    """What the network says of each example's step s -> t, and what follows from it.

    y: its prediction of the target [B, ...]; excess: log v - log beta_tilde (variance/base.py);
    clip: whether x0_hat is clipped to the data range [-1, 1] inside the mean: another model with another bound.
    """

    y: Tensor
    excess: Tensor
    x_t: Tensor
    step: Step
    coefficients: Coefficients
    clip: bool = False

    def __getitem__(self, rows: Tensor) -> Prediction:
        """Some of the examples (rows: int64 on the CPU)."""
        on_device = rows.to(self.y.device)
        return replace(
            self,
            y=self.y[on_device],
            excess=self.excess[rows.to(self.excess.device)],
            x_t=self.x_t[on_device],
            step=self.step[rows],
            coefficients=Coefficients(*(k[rows] for k in self.coefficients)),
        )

    def clipped(self) -> Prediction:
        return replace(self, clip=True)

    def with_detached_mean(self) -> Prediction:
        """The same prediction, through which only the variance learns (Nichol & Dhariwal 2021, section 3.1)."""
        return replace(self, y=self.y.detach())

    def with_variance(self, variance: Variance) -> Prediction:
        """The same mean with a variance that reads no output: what would it have cost?"""
        return replace(self, excess=variance.excess(None, self.step).reshape(-1, *[1] * (self.y.dim() - 1)))

    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        """What y should be: p x_0 + q eps."""
        return expand(self.coefficients.p, x0) * x0 + expand(self.coefficients.q, x0) * eps

    def x0_hat(self) -> Tensor:
        _, q, det = self.coefficients
        x0 = expand(self.step.t.sigma / det, self.y) * self.y - expand(q / det, self.y) * self.x_t
        return x0.clamp(-1, 1) if self.clip else x0

    def x0_error(self, x0: Tensor, eps: Tensor) -> Tensor:
        """x_0 - x0_hat, from target - y: no cancellation near t = 1."""
        if self.clip:
            return x0 - self.x0_hat()
        return expand(self.step.t.sigma / self.coefficients.det, x0) * (self.target(x0, eps) - self.y)

    def mean(self) -> Tensor:
        """m, the mean of p(x_s|x_t) [B, ...]; unclipped it is a y + b x_t, never by way of x0_hat."""
        step, (_, q, det) = self.step, self.coefficients
        if self.clip:
            return expand(step.c0, self.y) * self.x0_hat() + expand(step.ct, self.y) * self.x_t
        a, b = step.c0 * step.t.sigma / det, step.ct - step.c0 * q / det
        return expand(a, self.y) * self.y + expand(b, self.y) * self.x_t

    def mean_difference(self, x0: Tensor, eps: Tensor) -> Tensor:
        """mu_tilde - m = c0 (x_0 - x0_hat)."""
        if self.clip:
            return expand(self.step.c0, x0) * self.x0_error(x0, eps)
        k = self.step.c0 * self.step.t.sigma / self.coefficients.det
        return expand(k, x0) * (self.target(x0, eps) - self.y)

    def log_var(self) -> Tensor:
        """log v, the log variance of p(x_s|x_t): [B, 1, ...] or [B, ...], in the dtype of y."""
        return (expand(self.step.log_beta_tilde, self.excess) + self.excess).to(self.y)

    def gaussian(self) -> Gaussian:
        """p(x_s|x_t)."""
        return Gaussian(self.mean(), self.log_var())

    def out_of_range(self) -> Tensor:
        """Share of the dimensions whose v lies outside [beta_tilde, beta], [B] (a hair of rounding allowed)."""
        share = self.excess / expand(self.step.log_ratio, self.excess)
        return per_example(((share < -1e-4) | (share > 1 + 1e-4)).float()) / share[0].numel()


@dataclass(frozen=True)
class Diffusion:
    """The generative model: a network plus one choice of each group. `dataclasses.replace` makes variants of it."""

    model: Network
    process: Process
    schedule: Schedule
    parameterization: Parameterization
    variance: Variance
    decoder: Decoder

    def on(self, model: Network) -> Diffusion:
        """The same with a copy of the network (its average), and with that copy's own of the parts that it has adopted."""
        return replace(self, model=model, **adopted(model))

    def __call__(self, x_t: Tensor, step: Step, cond: Tensor | None = None) -> Prediction:
        """One network evaluation for each example of x_t [B, ...]; `step` on the CPU, float64."""
        raw = self.model(x_t, step.t.log_snr.to(x_t.device, torch.float32), cond)
        y, output = raw, None
        if self.variance.heads:
            y, output = raw.chunk(2, dim=1)
        excess = self.variance.excess(output, step)
        excess = excess if output is not None else excess.reshape(-1, *[1] * (x_t.dim() - 1))
        return Prediction(y, excess, x_t, step, self.parameterization.coefficients(step))
