"""A convolutional, KL-regularised autoencoder: latent diffusion (Rombach et al. 2022), and its whole bound on x."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..decoder.discretized_gaussian import DiscretizedGaussian
from ..errors import ConfigError, NotDefined
from ..gaussian import BITS, NATS, per_example
from ..tables import SPACE
from .base import Encoded, Lesson, Lessons, Space

RECONSTRUCTION, ENTROPY = f"{SPACE}reconstruction", f"{SPACE}entropy"
SMALLEST = 4  # height and width of z below which it is halved no further, unless that is asked for
LOG_VAR = (-14.0, 2.0)  # of p(x|z): from a quarter of one of 256 levels to more than the whole range
LOG_VAR_Q = (-20.0, 10.0)
STATISTICS = 10_000  # training examples that the scale of z is computed from
NOTED_EVERY = 20  # steps


class Autoencoder(nn.Module, Space):
    """q(z|x) = N(mean(x), exp(log_var(x))) and p(x|z), a Gaussian with a mean and a variance for each value (integrated over
    the bins of grey levels), learned before the chain with the objective E[-log p(x|u)] + kl_weight KL(q(u|x) || N(0, I)).

    z = (u - shift) / scale has mean 0 and variance 1 in each channel over the training data, as Stable Diffusion's latents
    by their factor 0.18215. For every q, p and chain

        -log p(x) <= E[-log p(x|z)] - H(q(z|x)) + E[the chain's bound on z]        (reconstruction, entropy, chain)

    the first and the last with one z drawn for each example, H in closed form. With N(0, I) for u in place of the chain it
    is the VAE's own bound (Kingma & Welling 2014).
    """

    terms = (RECONSTRUCTION, ENTROPY)
    unit_of_lessons = "step"

    shift: Tensor  # float32 [channels, 1, 1]
    scale: Tensor
    learned: Tensor  # bool

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int | None,
        *,
        channels: int,
        halvings: int | None,
        width: int,
        kl_weight: float,
        steps: int,
        batch_size: int,
        lr: float,
        load: str | None,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise NotDefined(
                f"space=autoencoder takes pictures [C, H, W], and this data has shape {list(shape)}; choose space=whiten or space=pca."
            )
        for name, value in (("channels", channels), ("width", width), ("steps", steps), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"space.{name}={value} must be at least 1.")
        if not (kl_weight > 0 and 0 < lr < math.inf):
            raise ConfigError(f"space.kl_weight={kl_weight} and space.lr={lr} must be positive numbers.")
        if load is not None:
            self._of_checkpoint(Path(load))
        self.x_shape, self.channels = tuple(shape), channels
        self.kl_weight, self.steps, self.batch_size, self.lr, self.load = kl_weight, steps, batch_size, lr, load
        self.unit, self.levels = BITS if levels else NATS, levels
        halvings = most_halvings(shape) if halvings is None else halvings
        if halvings < 1 or any(size % 2**halvings for size in shape[1:]):
            raise ConfigError(
                f"space.halvings={halvings} must be at least 1 and leave whole numbers of {shape[1]} x {shape[2]} pixels; null takes as many as "
                f"leave {SMALLEST} x {SMALLEST}."
            )
        widths = [width * min(2**i, 4) for i in range(halvings)]
        self.z_shape = (channels, *(size // 2**halvings for size in shape[1:]))
        self.encoder = _encoder(shape[0], widths, 2 * channels)
        self.decoder = _decoder(channels, widths, 2 * shape[0])
        self.register_buffer("shift", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))
        self.register_buffer("learned", torch.zeros((), dtype=torch.bool))
        self.requires_grad_(False)  # the chain's training does not reach it
        self.to(memory_format=torch.channels_last)  # the fastest layout; feature maps follow the weights
        self._optimizer: torch.optim.Optimizer | None = None
        self._step = 0

    @property
    def ready(self) -> bool:
        return bool(self.learned)

    def shape_of(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.z_shape

    def noise_of(self, x_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        return self.z_shape

    @torch.no_grad()
    def encode(self, x0: Tensor, noise: Tensor | None) -> Encoded:
        assert noise is not None
        mean, log_var = self.posterior(x0)
        u = mean + torch.exp(0.5 * log_var) * noise
        log_scale = float(self.scale.double().log().sum()) * math.prod(self.z_shape[1:])
        entropy = 0.5 * per_example(log_var.double() + math.log(2 * math.pi * math.e)) - log_scale
        parts = {RECONSTRUCTION: self.reconstruction(x0, u), ENTROPY: -entropy}
        return Encoded((u - self.shift) / self.scale, parts)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood(z * self.scale + self.shift)[0]

    @torch.no_grad()
    def plain_nll(self, z: Tensor) -> Tensor | None:
        """-log of the density that z has where u ~ N(0, I)."""
        u = (z * self.scale + self.shift).double()
        log_scale = self.scale.double().log().sum() * math.prod(self.z_shape[1:])
        return 0.5 * per_example(u.square() + math.log(2 * math.pi)) - log_scale

    def posterior(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log variance) of q(u|x), [B, *z_shape] each."""
        mean, log_var = self.encoder(x0).chunk(2, 1)
        return mean, log_var.clamp(*LOG_VAR_Q)

    def likelihood(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log variance) of p(x|u), [B, *x_shape] each."""
        mean, output = self.decoder(u).chunk(2, 1)
        low, high = LOG_VAR
        return mean, low + (high - low) * torch.sigmoid(output + 1)

    def reconstruction(self, x0: Tensor, u: Tensor) -> Tensor:
        """-log p(x|u) in nats, float64 [B]."""
        mean, log_var = self.likelihood(u)
        if self.levels:
            return -per_example(DiscretizedGaussian(self.levels).log_prob(x0, mean, log_var).double())
        mean, log_var = mean.double(), log_var.double()
        square = (x0.double() - mean).square() * torch.exp(-log_var)
        return 0.5 * per_example(square + log_var + math.log(2 * math.pi))

    # -- before the chain -----------------------------------------------------------------------------------------

    @property
    def progress(self) -> dict[str, Any]:
        return {"step": self._step, "optimizer": self._optimizer.state_dict()} if self._optimizer else {}

    def learn(self, lessons: Lessons, progress: Mapping[str, Any]) -> Iterator[Lesson]:
        if self.load is not None:
            self.load_state_dict(self._of_run(Path(self.load)))
            return
        self._step, self._optimizer = progress.get("step", 0), torch.optim.Adam(self.parameters(), self.lr)
        if progress:
            self._optimizer.load_state_dict(progress["optimizer"])
        self.requires_grad_(True)
        unit = BITS if self.levels else NATS
        for x0 in lessons.batches(self.batch_size, self._step + 1, self.steps):
            self._step += 1
            nats = self._lesson(x0, lessons.seed)
            noted = self._step % NOTED_EVERY == 0 or self._step == self.steps
            notes = {unit.label: float(unit.per_dim(nats, math.prod(self.x_shape)))} if noted else {}
            yield Lesson(self._step, self.steps, notes)
        self.requires_grad_(False)
        self._optimizer = None
        self._standardise(lessons)
        self.learned.fill_(True)

    @torch.enable_grad()
    def _lesson(self, x0: Tensor, seed: int) -> Tensor:
        """One step; the VAE's own bound of the batch in nats."""
        assert self._optimizer is not None
        share = self._step / self.steps
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr * min(1.0, self._step / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
        generator = torch.Generator(x0.device).manual_seed((seed * 0x9E3779B1 + self._step * 0xC2B2AE3D) % (1 << 63))
        mean, log_var = self.posterior(x0)
        noise = torch.randn(mean.shape, generator=generator, device=x0.device)
        reconstruction = self.reconstruction(x0, mean + torch.exp(0.5 * log_var) * noise)
        kl = 0.5 * per_example(mean.square() + torch.exp(log_var) - 1 - log_var)
        loss = (reconstruction + self.kl_weight * kl).mean() / math.prod(self.x_shape)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        if not bool(norm.isfinite()):
            raise FloatingPointError(
                f"the gradient of the autoencoder's step {self._step} is not finite; lower space.lr={self.lr:g}."
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return (reconstruction + kl).mean().detach()

    @torch.no_grad()
    def _standardise(self, lessons: Lessons) -> None:
        """shift and scale, from the means and variances of q over the first training examples: no noise is drawn."""
        total, square, count = (torch.zeros(self.channels, dtype=torch.float64) for _ in range(3))
        for part in lessons.x[:STATISTICS].split(256):
            mean, log_var = (v.double().cpu() for v in self.posterior(lessons.to_unit(part).to(self.shift.device)))
            total += mean.sum((0, 2, 3))
            square += (mean.square() + torch.exp(log_var)).sum((0, 2, 3))
            count += mean[:, 0].numel()
        shift = total / count
        self.shift.copy_(shift[:, None, None])
        self.scale.copy_((square / count - shift.square()).sqrt()[:, None, None])

    def _of_checkpoint(self, path: Path) -> Path:
        """The checkpoint that `load` names; ConfigError if there is none."""
        from ..train import checkpoint

        try:
            return checkpoint.latest(path)
        except ConfigError as error:
            raise ConfigError(f"space.load={path}: {error}") from error

    def _of_run(self, path: Path) -> dict[str, Tensor]:
        """What another run has learned; ConfigError where it holds nothing that fits."""
        from ..diffusion import PART
        from ..train import checkpoint

        weights = checkpoint.load(self._of_checkpoint(path))["ema"]
        prefix = f"{PART}space."
        found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        own = self.state_dict()
        different = sorted(set(own) ^ set(found)) or [n for n in own if own[n].shape != found[n].shape]
        if different or not bool(found["learned"]):
            what = f"another autoencoder (first difference: {different[0]})" if different else "one that is not ready"
            raise ConfigError(
                f"space.load={path} holds {what}; give a run of this data with the same space.channels, space.halvings and space.width, or null."
            )
        return found


def most_halvings(shape: tuple[int, ...]) -> int:
    """How often a picture can be halved while it stays SMALLEST high and wide; 1 at least."""
    sizes, count = shape[1:], 0
    while all(size % 2 == 0 and size // 2 >= SMALLEST for size in sizes):
        sizes, count = tuple(size // 2 for size in sizes), count + 1
    return max(count, 1)


class _Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), the identity at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_head(width), nn.Conv2d(width, width, 3, padding=1), *_head(width), nn.Conv2d(width, width, 3, padding=1)
        )
        for parameter in self.body[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _head(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.GroupNorm(max(1, width // 16) if width % 16 == 0 else 1, width), nn.SiLU()


def _encoder(inputs: int, widths: Sequence[int], outputs: int) -> nn.Sequential:
    """A halving and a residual block for each width, finest first."""
    layers: list[nn.Module] = []
    for before, width in pairwise([inputs, *widths]):
        layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), _Residual(width)]
    return nn.Sequential(*layers, *_head(widths[-1]), nn.Conv2d(widths[-1], outputs, 3, padding=1))


def _decoder(inputs: int, widths: Sequence[int], outputs: int) -> nn.Sequential:
    """Its mirror image, with half the finest width where the pixels are."""
    last = max(widths[0] // 2, 1)
    layers: list[nn.Module] = [nn.Conv2d(inputs, widths[-1], 3, padding=1)]
    for width, after in pairwise([*reversed(widths), last]):
        layers += [_Residual(width), nn.ConvTranspose2d(width, after, 4, stride=2, padding=1)]
    return nn.Sequential(*layers, *_head(last), nn.Conv2d(last, outputs, 3, padding=1))
