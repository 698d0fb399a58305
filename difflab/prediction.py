"""What a network says of a step of the reverse chain, read through everything else that defines p(x_s|x_t)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .gaussian import KL, Gaussian, expand, kl, per_example
from .parameterization.base import Coefficients
from .schedule.base import Step
from .variance.base import Variance


class Reading(ABC):
    """p(x_s|x_t) of each example of a batch, whatever the process. `eps` is the unit noise that made x_t of x_0."""

    x_t: Tensor
    step: Step

    @abstractmethod
    def __getitem__(self, rows: Tensor) -> Self:
        """Some of the examples (rows: int64 on the CPU)."""

    @abstractmethod
    def transition_kl(self, x0: Tensor, eps: Tensor) -> KL:
        """L_{t-1} = KL(q(x_s|x_t,x_0) || p(x_s|x_t)) in nats, for steps with s >= 1; [B]."""

    @abstractmethod
    def draw(self, z: Tensor) -> Tensor:
        """x_s ~ p(x_s|x_t) by unit noise z, of x_t's shape."""

    @abstractmethod
    def x0_hat(self) -> Tensor:
        """E[x_0|x_t] as the network has it, in the data's units, [B, ...]."""

    @abstractmethod
    def x0_error(self, x0: Tensor, eps: Tensor) -> Tensor:
        """x_0 - x0_hat, [B, ...]."""

    @abstractmethod
    def out_of_range(self) -> Tensor:
        """Share of the dimensions whose variance lies outside [beta_tilde, beta], [B]; 0 where there is no variance."""

    @abstractmethod
    def clipped(self) -> Self:
        """The same with x0_hat clipped to the data range, where Diffusion.priced (another model, with another bound)."""

    @abstractmethod
    def guided(self, unknown: Self, scale: float) -> Self:
        """The same with what the network predicts moved to unknown + scale (own - unknown): classifier-free guidance, where
        `unknown` is the reading of the same x_t without a label. Another model, with a bound that nobody knows."""

    @abstractmethod
    def with_variance(self, variance: Variance) -> Self:
        """The same mean with a variance that reads no output, where Diffusion.priced: what would it have cost?"""


@dataclass(frozen=True)
class Prediction(Reading):
    """What the network says of a Gaussian step s -> t, and what follows from it.

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

    def guided(self, unknown: Prediction, scale: float) -> Prediction:
        """In y; x0_hat, eps_hat, v and the mean, affine in y at a given x_t, move alike (Ho & Salimans 2022, eq. 6, with 1 + w =
        scale). The variance stays this reading's, and clipping comes after."""
        return replace(self, y=unknown.y + scale * (self.y - unknown.y))

    def with_detached_mean(self) -> Prediction:
        """The same, through which only the variance learns (Nichol & Dhariwal 2021, section 3.1)."""
        return replace(self, y=self.y.detach())

    def with_variance(self, variance: Variance) -> Prediction:
        return replace(self, excess=variance.excess(None, self.step).reshape(-1, *[1] * (self.y.dim() - 1)))

    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        """What y should be: p x_0 + q eps."""
        return expand(self.coefficients.p, x0) * x0 + expand(self.coefficients.q, x0) * eps

    def x0_hat(self) -> Tensor:
        _, q, det = self.coefficients
        x0 = expand(self.step.t.sigma / det, self.y) * self.y - expand(q / det, self.y) * self.x_t
        return x0.clamp(-1, 1) if self.clip else x0

    def x0_error(self, x0: Tensor, eps: Tensor) -> Tensor:
        # from target - y: no cancellation near t = 1
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

    def draw(self, z: Tensor) -> Tensor:
        mean, log_var = self.gaussian()
        return mean + torch.exp(0.5 * log_var) * z

    def transition_kl(self, x0: Tensor, eps: Tensor) -> KL:
        log_var_q = expand(self.step.log_beta_tilde, self.excess)
        return kl(self.mean_difference(x0, eps), log_var_q, self.excess)

    def out_of_range(self) -> Tensor:
        # a hair of rounding allowed
        share = self.excess / expand(self.step.log_ratio, self.excess)
        return per_example(((share < -1e-4) | (share > 1 + 1e-4)).float()) / share[0].numel()
