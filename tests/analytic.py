"""Predictors whose answers are known in closed form, usable as a network under every parameterization.

Everything is float64 unless x_t is float32, so that a test sees the theory's error and not the network's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from difflab.bound.terms import Term, bound_term
from difflab.decoder.base import Decoder
from difflab.decoder.gaussian import Gaussian as GaussianDensity
from difflab.diffusion import Diffusion
from difflab.parameterization.base import Parameterization
from difflab.parameterization.eps import Eps
from difflab.parameterization.mu import Mu
from difflab.parameterization.v import V
from difflab.parameterization.x0 import X0
from difflab.prediction import Prediction
from difflab.process.gaussian import Gaussian as GaussianProcess
from difflab.schedule.base import Level, Schedule, Step
from difflab.schedule.cosine import Cosine
from difflab.schedule.linear import Linear
from difflab.schedule.log_linear import LogLinear
from difflab.schedule.sigmoid import Sigmoid
from difflab.variance.base import Variance
from difflab.variance.fixed_beta import FixedBeta

PARAMETERIZATIONS: dict[str, Parameterization] = {"eps": Eps(), "x0": X0(), "mu": Mu(), "v": V()}
Predictor = Callable[[Tensor, Level], Tensor]  # (x_t float64 [B, ...], level t [B]) -> x0_hat


def linear(T: int, first_beta: float = 1e-4, last_beta: float = 0.02, zero_terminal: bool = False) -> Linear:
    return Linear(T=T, first_beta=first_beta, last_beta=last_beta, zero_terminal=zero_terminal)


def cosine(T: int, zero_terminal: bool = False) -> Cosine:
    return Cosine(T=T, s=0.008, max_beta=0.999, zero_terminal=zero_terminal)


def sigmoid(T: int, zero_terminal: bool = False, min_abar: float = 1e-9, tau: float = 1.0) -> Sigmoid:
    return Sigmoid(T=T, start=-3.0, end=3.0, tau=tau, min_abar=min_abar, zero_terminal=zero_terminal)


def log_linear(T: int, zero_terminal: bool = False, first: float = 13.3, last: float = -5.0) -> LogLinear:
    return LogLinear(T=T, first_log_snr=first, last_log_snr=last, zero_terminal=zero_terminal)


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "linear": linear, "cosine": cosine, "sigmoid": sigmoid, "log_linear": log_linear,
}  # fmt: skip
TO_ZERO: dict[str, Callable[[int], Schedule]] = {
    name: partial(make, zero_terminal=True)  # type: ignore[call-arg]
    for name, make in {"linear": linear, "cosine": cosine, "sigmoid": sigmoid, "log_linear": log_linear}.items()
}


def times(T: int, rows: int) -> Tensor:
    """t = 1..T, each `rows` times in a row."""
    return torch.arange(1, T + 1).repeat_interleave(rows)


def column(coefficient: Tensor, like: Tensor) -> Tensor:
    return coefficient.reshape(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class Analytic:
    """A network that knows x0_hat exactly and says it in its parameterization's words; `head`: the variance output."""

    predict: Predictor
    schedule: Schedule
    parameterization: Parameterization
    head: float | None = None

    def __call__(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        # mu needs the step's s: the row of the table with this log SNR tells t, and s = t - 1
        table = -self.schedule.log_snr[1:].float()
        t = torch.searchsorted(table, -log_snr) + 1
        assert torch.equal(self.schedule.log_snr[t].float(), log_snr)
        step, x = self.schedule.step(t), x_t.double()
        alpha, sigma = column(step.t.alpha, x), column(step.t.sigma, x)
        x0_hat = self.predict(x, step.t)
        p, q, _ = self.parameterization.coefficients(step)
        y = (column(p, x) * x0_hat + column(q, x) * (x - alpha * x0_hat) / sigma).to(x_t)
        return y if self.head is None else torch.cat([y, torch.full_like(y, self.head)], 1)


def constant(value: float) -> Predictor:
    return lambda x, level: torch.full_like(x, value)


def shrinking(x: Tensor, level: Level) -> Tensor:
    """Some smooth, imperfect predictor."""
    return 0.9 * torch.tanh(x / column(level.alpha + level.sigma, x)) + 0.03


@dataclass(frozen=True)
class Normal:
    """Data N(mean, diag(var)), [D] each."""

    mean: Tensor
    var: Tensor

    def predict(self, x: Tensor, level: Level) -> Tensor:
        alpha, noise = column(level.alpha, x), column(level.sigma.square(), x)
        return self.mean + self.var * alpha / (alpha**2 * self.var + noise) * (x - alpha * self.mean)

    def posterior_var(self, level: Level) -> Tensor:
        """Var(x0|x_t), [B, D]."""
        alpha2, noise = level.alpha.square()[:, None], level.sigma.square()[:, None]
        return self.var * noise / (alpha2 * self.var + noise)

    @property
    def entropy(self) -> float:
        return float(0.5 * torch.log(2 * math.pi * math.e * self.var).sum())

    def best_bound(self, schedule: Schedule) -> float:
        """entropy + KL(q(x_T) || N(0, I)), nats."""
        top = schedule.level(torch.tensor([schedule.T]))
        var, mean = top.alpha**2 * self.var + top.sigma**2, top.alpha * self.mean
        return self.entropy + float(0.5 * (var - 1 - torch.log(var) + mean**2).sum())

    def nodes(self, per_axis: int = 3) -> tuple[Tensor, Tensor, Tensor]:
        """(x0, eps, weight): a Gauss-Hermite rule for (x0, eps), exact for the quadratic terms of this data's bound."""
        z, w = hermite(per_axis, 2 * len(self.mean))
        x0, eps = z.chunk(2, 1)
        return self.mean + self.var.sqrt() * x0, eps, w


NORMAL = Normal(torch.tensor([0.3, -0.2], dtype=torch.float64), torch.tensor([0.25, 1.7], dtype=torch.float64))


@dataclass(frozen=True)
class Mixture:
    """Data sum_k weight_k N(mean_k, var), one dimension; weight and mean [K]."""

    weight: Tensor
    mean: Tensor
    var: float

    def predict(self, x: Tensor, level: Level) -> Tensor:
        alpha, noise = column(level.alpha, x), column(level.sigma.square(), x)
        total = alpha**2 * self.var + noise
        log_r = torch.log(self.weight) - 0.5 * (x - alpha * self.mean) ** 2 / total
        each = self.mean + self.var * alpha / total * (x - alpha * self.mean)
        return (log_r.softmax(1) * each).sum(1, keepdim=True)

    def log_prob(self, x: Tensor, alpha: float = 1.0, noise: float = 0.0) -> Tensor:
        total = alpha**2 * self.var + noise
        each = torch.log(self.weight) - 0.5 * (x[:, None] - alpha * self.mean) ** 2 / total
        return torch.logsumexp(each, 1) - 0.5 * math.log(2 * math.pi * total)

    def best_bound(self, schedule: Schedule) -> float:
        """entropy + KL(q(x_T) || N(0, 1)) by quadrature, nats."""
        top = schedule.level(torch.tensor([schedule.T]))
        alpha, noise = float(top.alpha), float(top.sigma) ** 2
        x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
        data, last = self.log_prob(x), self.log_prob(x, alpha, noise)
        normal = -0.5 * x**2 - 0.5 * math.log(2 * math.pi)
        integrand = -data.exp() * data + last.exp() * (last - normal)
        return float(torch.trapezoid(integrand, x))

    def nodes(self, per_axis: int = 24) -> tuple[Tensor, Tensor, Tensor]:
        """(x0, eps, weight), a Gauss-Hermite rule in each component and in eps."""
        z, w = hermite(per_axis, 2)
        x0 = (self.mean[:, None] + math.sqrt(self.var) * z[:, 0]).reshape(-1, 1)
        weight = (self.weight[:, None] * w).flatten()
        return x0, z[:, 1].repeat(len(self.mean))[:, None], weight


def hermite(per_axis: int, axes: int) -> tuple[Tensor, Tensor]:
    """Nodes [R, axes] and weights [R] of E[f(z)], z ~ N(0, I)."""
    z, w = np.polynomial.hermite_e.hermegauss(per_axis)
    grid = np.meshgrid(*[z] * axes, indexing="ij")
    weights = np.prod(np.meshgrid(*[w / w.sum()] * axes, indexing="ij"), axis=0)
    return torch.tensor(np.stack([g.ravel() for g in grid], 1)), torch.tensor(weights.ravel())


@dataclass(frozen=True)
class ExactVariance(Variance):
    """v = beta_tilde + c0^2 Var(x0|x_t) per dimension: p(x_s|x_t) is then the true reverse step of Gaussian data.

    It reads no output; heads = 1 only because a variance per dimension is what a learned one has.
    """

    data: Normal
    heads: int = 1

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        assert output is not None
        added = step.c0[:, None] ** 2 * self.data.posterior_var(step.t)
        beta_tilde = torch.exp(step.s.log_var + torch.log(step.c))[:, None]  # a true 0 at t = 1
        return (torch.log(beta_tilde + added) - step.log_beta_tilde[:, None]).to(output)


@dataclass(frozen=True)
class TableVariance(Variance):
    """log v - log beta_tilde from a table [T + 1] of the schedule's t."""

    schedule: Schedule
    table: Tensor
    heads: int = 0

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        return self.table[torch.searchsorted(-self.schedule.log_snr, -step.t.log_snr)]


def diffusion_of(
    predict: Predictor,
    schedule: Schedule,
    parameterization: str = "v",
    variance: Variance | None = None,
    decoder: Decoder | None = None,
    head: float = 0.0,
) -> Diffusion:
    """A whole model around a predictor; fixed_beta and the Gaussian density unless given."""
    variance = variance or FixedBeta(ddpm_t1=False)
    kind = PARAMETERIZATIONS[parameterization]
    model = Analytic(predict, schedule, kind, head if variance.heads else None)
    return Diffusion(model, GaussianProcess(), schedule, kind, variance, decoder or GaussianDensity())


def predict_at(diffusion: Diffusion, x0: Tensor, eps: Tensor, t: Tensor) -> Prediction:
    """The prediction at x_t = alpha x0 + sigma eps, in the dtype of x0."""
    step = diffusion.schedule.step(t)
    return diffusion(diffusion.process.noised(x0, step.t, eps), step)


def terms_at(diffusion: Diffusion, x0: Tensor, eps: Tensor, t: Tensor) -> Term:
    return bound_term(diffusion.decoder, predict_at(diffusion, x0, eps, t), x0, eps)


def expected_terms(diffusion: Diffusion, nodes: tuple[Tensor, Tensor, Tensor], chunk: int = 50) -> Tensor:
    """E[term] for t = 1..T in nats, by quadrature over (x0, eps)."""
    x0, eps, weight = nodes
    parts = []
    for t in torch.arange(1, diffusion.schedule.T + 1).split(chunk):
        rows = len(t)
        term = terms_at(diffusion, x0.repeat(rows, 1), eps.repeat(rows, 1), t.repeat_interleave(len(x0)))
        parts.append((term.nats.reshape(rows, -1) * weight).sum(1))
    return torch.cat(parts)


def expected_bound(diffusion: Diffusion, nodes: tuple[Tensor, Tensor, Tensor]) -> float:
    """E[L_T + sum of L_{t-1} + L_0] in nats, by quadrature."""
    x0, _, weight = nodes
    top = diffusion.schedule.level(torch.full((len(x0),), diffusion.schedule.T))
    prior = (diffusion.process.prior_kl(x0, top) * weight).sum()
    return float(prior + expected_terms(diffusion, nodes).sum())


def random_pair(shape: Sequence[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """(x0 in [-1, 1], eps), the same numbers in either dtype."""
    generator = torch.Generator().manual_seed(seed)
    x0 = (2 * torch.rand(*shape, generator=generator) - 1).to(dtype)
    return x0, torch.randn(*shape, generator=generator).to(dtype)
