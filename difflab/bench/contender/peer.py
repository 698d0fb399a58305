"""What peers have in common, and what is lent to those that lack it: the loops of Nichol & Dhariwal (2021), in the style
of their published code (timesteps one after the other, a whole batch at one t; float64 tables in numpy, copied to the
device at every use), written anew from the paper."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from ..work import Shape
from .base import STEPS, Contender, Piece, T, pictures

VLB_WEIGHT = 1e-3  # of the paper's hybrid loss, where the bound's term counts T times
EMA_DECAY = 0.9999


class Peer(Contender):
    """fp32, the default layout, no compiler: what their documentation tells a user to do. A subclass replaces whatever its
    library brings of its own; nothing is added that its users would have to invent."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        super().__init__(shape, device)
        torch.manual_seed(0)
        self._network = self.build().to(device)
        self.x0 = pictures(shape, device)

    @abstractmethod
    def build(self) -> Module:
        """The network: (x_t [B, C, H, W], t int64 [B]) -> [B, 2 C, H, W] by way of `raw`."""

    @property
    def network(self) -> Module:
        return self._network

    def raw(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.network(x_t, t)

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        return self.x0[:batch], torch.zeros(batch, dtype=torch.int64, device=self.device)

    def batches(self, batch: int) -> Iterator[Tensor]:
        """Batches of pictures, for ever."""
        for i in count():
            yield self.x0[torch.arange(i * batch, (i + 1) * batch, device=self.device) % len(self.x0)]

    def loss(self, x0: Tensor) -> Tensor:
        """The hybrid loss: the error of the noise, and the bound's term through the variance alone."""
        t = torch.randint(0, T, (len(x0),), device=self.device)
        eps = torch.randn_like(x0)
        x_t = self.tables.noised(x0, t, eps)
        y, v = self.raw(x_t, t).chunk(2, dim=1)
        term = self.tables.term(torch.cat([y.detach(), v], dim=1), x0, x_t, t)
        return ((y - eps).square().mean((1, 2, 3)) + VLB_WEIGHT * term).mean()

    @cached_property
    def tables(self) -> Tables:
        return Tables(cosine_betas(T))

    def averager(self) -> Callable[[], object]:
        """What averages the weights after each step."""
        average = copy.deepcopy(self.network)

        @torch.no_grad()
        def update() -> None:
            for old, new in zip(average.parameters(), self.network.parameters(), strict=True):
                old.mul_(EMA_DECAY).add_(new, alpha=1 - EMA_DECAY)

        return update

    def train(self, batch: int) -> Piece:
        self.network.train()
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4)
        batches, average = self.batches(batch), self.averager()

        def step() -> int:
            self.loss(next(batches)).backward()
            optimizer.step()
            optimizer.zero_grad()
            average()
            return batch

        return step

    def bound(self, batch: int) -> Piece:
        """The loop over t = T - 1 .. 0, one t for the whole batch at each call."""
        self.network.eval()
        x0, times, terms = self.x0[:batch], count(), []

        @torch.no_grad()
        def one_t() -> int:
            t = torch.full((len(x0),), T - 1 - next(times) % T, device=self.device)
            eps = torch.randn_like(x0)
            x_t = self.tables.noised(x0, t, eps)
            raw = self.raw(x_t, t)
            terms.append(self.tables.term(raw, x0, x_t, t))
            error = self.tables.x0_hat(raw.chunk(2, dim=1)[0], x_t, t) - x0
            terms.append(error.square().mean((1, 2, 3)))
            terms.append((raw.chunk(2, dim=1)[0] - eps).square().mean((1, 2, 3)))
            return len(x0)

        return one_t

    def ancestral(self, batch: int) -> Piece:
        return self.walk(batch, Tables.ancestral)

    def ddim(self, batch: int) -> Piece:
        return self.walk(batch, Tables.ddim)

    def walk(self, batch: int, step: Callable[[Tables, Tensor, Tensor, Tensor], Tensor]) -> Piece:
        self.network.eval()
        tables = self.tables.respaced(STEPS)

        @torch.no_grad()
        def whole() -> int:
            x = torch.randn(batch, *self.shape, device=self.device)
            for i in reversed(range(STEPS)):
                t = torch.full((batch,), i, device=self.device)
                raw = self.raw(x, torch.from_numpy(tables.original).to(self.device)[t])
                x = step(tables, raw, x, t)
            return batch * STEPS

        return whole


def cosine_betas(T: int) -> np.ndarray:
    """The cosine schedule (eq. 17), no beta above 0.999, float64 [T]."""
    level = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - level[1:] / level[:-1], 0.999)


class Tables:
    """The coefficients of a chain, float64 [T] in numpy, t = 0 .. T - 1; the network predicts the noise and where between
    its two bounds the log variance lies (eq. 15)."""

    def __init__(self, betas: np.ndarray, original: np.ndarray | None = None) -> None:
        self.original = np.arange(len(betas)) if original is None else original
        kept = np.cumprod(1 - betas)
        self.kept, before = kept, np.append(1.0, kept[:-1])
        self.before = before
        self.signal, self.noise = np.sqrt(kept), np.sqrt(1 - kept)
        self.inverse, self.inverse_noise = np.sqrt(1 / kept), np.sqrt(1 / kept - 1)
        variance = betas * (1 - before) / (1 - kept)
        self.low, self.high = np.log(np.append(variance[1], variance[1:])), np.log(betas)
        self.from_x0 = betas * np.sqrt(before) / (1 - kept)
        self.from_x_t = (1 - before) * np.sqrt(1 - betas) / (1 - kept)

    def respaced(self, steps: int) -> Tables:
        """The chain over evenly spaced steps of this one."""
        original = np.linspace(0, len(self.kept) - 1, steps).round().astype(int)
        kept = self.kept[original]
        return Tables(1 - kept / np.append(1.0, kept[:-1]), original)

    @staticmethod
    def at(table: np.ndarray, t: Tensor, x: Tensor) -> Tensor:
        """A table's values at t, as the shape of x."""
        values = torch.from_numpy(table).to(t.device)[t].float()
        return values[:, None, None, None].expand(x.shape)

    def noised(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return self.at(self.signal, t, x0) * x0 + self.at(self.noise, t, x0) * eps

    def x0_hat(self, eps: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return (self.at(self.inverse, t, x_t) * x_t - self.at(self.inverse_noise, t, x_t) * eps).clamp(-1, 1)

    def posterior_mean(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return self.at(self.from_x0, t, x_t) * x0 + self.at(self.from_x_t, t, x_t) * x_t

    def reverse(self, raw: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log variance) of p(x_(t-1)|x_t)."""
        eps, v = raw.chunk(2, dim=1)
        low, high = self.at(self.low, t, x_t), self.at(self.high, t, x_t)
        share = (v + 1) / 2
        return self.posterior_mean(self.x0_hat(eps, x_t, t), x_t, t), share * high + (1 - share) * low

    def term(self, raw: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The bound's term of each example, bits/dim [B]: the likelihood of the pixels at t = 0, elsewhere the KL."""
        mean, log_var = self.reverse(raw, x_t, t)
        true_mean, true_log_var = self.posterior_mean(x0, x_t, t), self.at(self.low, t, x_t)
        kl = 0.5 * (log_var - true_log_var - 1 + torch.exp(true_log_var - log_var))
        kl = kl + 0.5 * (true_mean - mean).square() * torch.exp(-log_var)
        nll = -grid_log_likelihood(x0, mean, 0.5 * log_var)
        return torch.where(t == 0, nll.mean((1, 2, 3)), kl.mean((1, 2, 3))) / math.log(2)

    def ancestral(self, raw: Tensor, x: Tensor, t: Tensor) -> Tensor:
        mean, log_var = self.reverse(raw, x, t)
        inner = (t != 0).float()[:, None, None, None]
        return mean + inner * torch.exp(0.5 * log_var) * torch.randn_like(x)

    def ddim(self, raw: Tensor, x: Tensor, t: Tensor) -> Tensor:
        x0 = self.x0_hat(raw.chunk(2, dim=1)[0], x, t)
        eps = (self.at(self.inverse, t, x) * x - x0) / self.at(self.inverse_noise, t, x)
        before = self.at(self.before, t, x)
        return x0 * before.sqrt() + (1 - before).sqrt() * eps


def grid_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log of a Gaussian's mass in the cell of width 2 / 255 around x, the outer cells open; the normal distribution
    function by its approximation with tanh."""

    def cdf(z: Tensor) -> Tensor:
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    scale = torch.exp(-log_scale)
    above, below = cdf(scale * (x - mean + 1 / 255)), cdf(scale * (x - mean - 1 / 255))
    inside = (above - below).clamp(min=1e-12).log()
    first, last = above.clamp(min=1e-12).log(), (1 - below).clamp(min=1e-12).log()
    return torch.where(x < -0.999, first, torch.where(x > 0.999, last, inside))
