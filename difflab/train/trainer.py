"""The training loop: one page, one place where a reader checks what is optimised, averaged and logged.

The randomness of step n is a function of (seed, n) alone: which examples, which t, which noise, which dropout. So a
resumed run needs no generator's state to go on exactly as the uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.utils import clip_grad_norm_

from .. import ranks
from ..augmentation.base import Augmentation
from ..augmentation.none import NoAugmentation
from ..data.base import UNKNOWN, Stored
from ..diffusion import Diffusion, Network, reach
from ..errors import ConfigError
from ..gaussian import sent
from ..objective.base import Objective
from ..optimizer.base import Optimizer
from ..precision import in_precision
from ..timestep.base import Draw, Times, Timestep
from .compute import GRAPHS, NEVER, Compute, compiled
from .ema import Ema
from .loader import Order, source_of
from .meter import Meter


@dataclass(frozen=True)
class Settings:
    """conf/trainer/default.yaml, which explains each."""

    steps: int
    max_minutes: float | None
    batch_size: int
    accumulate: int
    precision: str
    compile: str
    ema_decay: float
    grad_clip: float | None
    skip_nonfinite: int
    label_dropout: float
    log_every: int
    val_every: int
    detect_anomaly: bool
    profile: bool
    workers: int | None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name}={getattr(self, name)} must be at least 1.")
        if self.accumulate > self.batch_size:
            raise ConfigError(
                f"trainer.accumulate={self.accumulate} cuts a batch of trainer.batch_size={self.batch_size} into parts: it must not exceed it."
            )
        if self.accumulate > 1 and self.compile in GRAPHS:
            raise ConfigError(
                f"trainer.compile={self.compile} replays recorded steps, which would write over the gradients that "
                f"trainer.accumulate={self.accumulate} adds up; set trainer.compile=default or trainer.accumulate=1."
            )
        if self.skip_nonfinite < 0:
            raise ConfigError(
                f"trainer.skip_nonfinite={self.skip_nonfinite} must be at least 0 (0: stop at the first)."
            )
        if not 0 <= self.label_dropout < 1:
            raise ConfigError(
                f"trainer.label_dropout={self.label_dropout} must lie in [0, 1): 0 means that labels are told."
            )
        if self.val_every < 0:
            raise ConfigError(f"trainer.val_every={self.val_every} must be at least 0 (0: validate only at the end).")
        if self.workers is not None and not 0 <= self.workers <= 64:
            raise ConfigError(f"trainer.workers={self.workers} is out of range: give 0..64 processes, or null.")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"trainer.ema_decay={self.ema_decay} must lie in [0, 1): 0 means no averaging.")
        for name in ("max_minutes", "grad_clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"trainer.{name}={value} must be a positive number or null.")


class Gradient(NamedTuple):
    """What the gradient of a step is made of: this rank's examples x0 in the chain's space with what that space adds to the
    bound of each (nats, float64), and of each term of all ranks' examples its t and iw (on the CPU), the objective's
    unweighted loss and the bound's term in nats."""

    x0: Tensor
    space: Tensor
    t: Tensor
    iw: Tensor
    losses: Tensor
    nats: Tensor


# Steps after which the CPU looks at a step's losses: a GPU is not waited for in every step. The importance history then
# is as late at every step, whatever is logged, validated or saved in between.
LAG = {"cuda": 1}


class Trainer:
    """Trains `diffusion.model` on data x (any dtype, [N, ...]; `to_unit` makes it float32 model input) with labels int64 [N]
    (None: unknown), as `augmentation` changes it (None: not at all)."""

    def __init__(
        self,
        diffusion: Diffusion,
        objective: Objective,
        timestep: Timestep,
        optimizer: Optimizer,
        x: Stored,
        to_unit: Callable[[Tensor], Tensor],
        settings: Settings,
        seed: int,
        device: torch.device,
        label: Tensor | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        assert isinstance(diffusion.model, Module)
        self.model, self.diffusion, self.objective, self.timestep = diffusion.model, diffusion, objective, timestep
        self.to_unit, self.settings, self.seed, self.device = to_unit, settings, seed, device
        self.ranks = ranks.current()
        if settings.batch_size < self.ranks.world:
            raise ConfigError(
                f"trainer.batch_size={settings.batch_size} leaves nothing for some of {self.ranks.world} processes; raise it or start fewer."
            )
        self.rows = self.ranks.part(settings.batch_size)  # of every batch: this rank's
        self.x_shape, self.order = tuple(x.shape[1:]), Order(len(x), settings.batch_size, seed, self.rows)
        self.shape = diffusion.space.shape_of(self.x_shape)
        self.source = source_of(x, self.order, settings.workers, device)
        self.augmentation = augmentation or NoAugmentation()
        self.label = torch.full((len(x),), UNKNOWN) if label is None else label
        self.compute = Compute.choose(
            settings.precision, settings.compile, settings.steps, settings.max_minutes, device
        )
        self.ema = Ema(self.model, settings.ema_decay)
        self.optimizer, self.curve = optimizer.create(self.model.parameters()), optimizer
        self.meter = Meter(diffusion.schedule.T, device)
        self.step, self.seconds = 0, 0.0  # optimizer steps and training time behind us, over all resumptions
        self.skipped = 0  # steps whose gradient was not finite (trainer.skip_nonfinite)
        self.best: float | None = None  # best validation so far
        self.nan_at_step: int | None = None  # debug.nan_at_step: a fault to see what becomes of one
        self._logged_at = (0, 0.0)
        self._unread: deque[_Losses] = deque()

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Of what the network sees of one example."""
        return self.diffusion.process.seen_as(self.shape, None)[0]

    @property
    def averaged(self) -> Diffusion:
        """The diffusion with the EMA weights: what is evaluated and sampled from."""
        return self.diffusion.on(self.ema)

    @cached_property
    def micro(self) -> tuple[Tensor, ...]:
        """Rows of each micro-batch, counted from this rank's first: of equal size, or one more."""
        count = self.rows.stop - self.rows.start
        return torch.arange(count).tensor_split(min(self.settings.accumulate, count))

    @cached_property
    def averaging(self) -> Module:
        """The model, compiled if `compute` says so, or what averages its gradients over the ranks."""
        torch.set_num_threads(self.compute.threads)
        model = self.model
        if self.compute.compile != NEVER:
            sizes = {len(rows) * width for rows in self.micro for width in self.timestep.widths}
            inputs = [
                (
                    torch.zeros(size, *self.seen_shape, device=self.device),
                    torch.zeros(size, device=self.device),
                    torch.zeros(size, dtype=torch.int64, device=self.device),
                )
                for size in sorted(sizes)
            ]
            bf16 = self.compute.precision == "bf16"
            model = compiled(self.model.train(), self.compute.compile, inputs, bf16, self.ranks)
            if model is self.model:  # it could not be
                self.compute = replace(self.compute, compile=NEVER)
        return self.ranks.averaging(model, self.device)

    @cached_property
    def trained(self) -> Diffusion:
        """The diffusion that training steps evaluate: its network computes as `compute` says."""
        network: Network = self.averaging
        return replace(self.diffusion, model=in_precision(network, self.compute.precision, self.device))

    @property
    def progress(self) -> float:
        """Share of the budget (steps or minutes, whichever is nearer its end) behind us, 0..1."""
        minutes = self.settings.max_minutes
        return max(self.step / self.settings.steps, self.seconds / 60 / minutes if minutes else 0.0)

    def run(self, on_step: Callable[[dict[str, float]], None]) -> None:
        """Train to the end of the budget. `on_step(row)` is called after every step with the row to log (empty between
        logging steps); what it does there (validate, save, stop by raising) takes no training time."""
        assert self.trained  # compiled, if at all, before the clock runs
        self._logged_at = (self.step, self.seconds)
        with closing(self.source):
            while self.progress < 1:
                started = time.perf_counter()
                row = self.train_step()
                self.seconds += time.perf_counter() - started
                if self.settings.max_minutes:  # all ranks end at the same step
                    self.seconds = self.ranks.largest(self.seconds)
                on_step(row)

    def train_step(self) -> dict[str, float]:
        """One optimizer step; the train/* row at logging steps, {} otherwise."""
        progress = self.progress
        self.step += 1
        lr = self.curve.lr_at(self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        x0, space, t, iw, losses, nats = self.gradient()
        norm = clip_grad_norm_(self.model.parameters(), self.settings.grad_clip or math.inf)
        left = _Losses.left(self.step, lr, t, losses, norm)
        if self.settings.skip_nonfinite > self.skipped and not left.finite:  # a GPU is waited for, then
            self.skipped += 1
        else:
            self._unread.append(left)
            self._observe()
            self.optimizer.step()
            self.ema.update(self.model, self.step - 1)
            iw = sent(iw, self.device)
            self.meter.add(sent(t, self.device), iw, nats, iw.to(losses) * losses)
        self.optimizer.zero_grad(set_to_none=True)
        if self.step % self.settings.log_every:
            return {}
        self.check()
        return self._row(lr, float(norm), x0, space)

    def gradient(self) -> Gradient:
        """Leave the gradient of step `self.step` in the parameters."""
        noise = self._seed_step()
        self.model.train()
        cond = self._labels(noise["label"])
        x0, space = self._encoded(self.to_unit(self._examples(noise["augmentation"])), noise["device"])
        batch = self.settings.batch_size  # of all ranks: each draws the whole of it and computes its rows
        drawn: list[Times] = []
        found: list[Tensor] = []  # of each draw [B, n, 2]
        for draw in self.timestep.draws(batch, noise["cpu"], partial(self._normal, noise["device"])):
            drawn.append(draw.times)
            u = torch.rand(draw.times.t.shape, generator=noise["cpu"], dtype=torch.float64)
            last = len(drawn) == len(self.timestep.widths)
            parts = [self._backward(x0, cond, draw, u, rows, last and rows is self.micro[-1]) for rows in self.micro]
            found.append(self.ranks.gather_parts(torch.cat(parts), batch))
        t, iw = (torch.cat(columns, 1).flatten() for columns in zip(*drawn, strict=True))
        losses, nats = torch.cat(found, 1).flatten(0, 1).unbind(1)
        return Gradient(x0, space, t, iw, losses, nats)

    def _examples(self, generator: torch.Generator) -> Tensor:
        """This rank's examples of a step as they are stored, augmented, [b, ...]. The numbers are those of the whole batch, drawn
        here and not where examples are read: neither ranks nor processes that read ahead change them."""
        u = torch.rand((self.settings.batch_size, self.augmentation.numbers), generator=generator)[self.rows]
        return self.augmentation(self.source.batch(self.step), sent(u, self.device))

    def _labels(self, generator: torch.Generator) -> Tensor:
        """What the network is told of this rank's examples of a step: the label, or that it is unknown, int64 [b]."""
        told = self.label[self.order(self.step)]
        hidden = torch.rand(self.settings.batch_size, generator=generator)[self.rows] < self.settings.label_dropout
        return sent(told.masked_fill(hidden, UNKNOWN), self.device)

    def _encoded(self, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """This rank's examples in the chain's space, and what it adds to the bound of each (nats, float64)."""
        space = self.diffusion.space
        shape = space.noise_of(self.x_shape)
        found = space.encode(x0, None if shape is None else self._normal(generator, shape))
        return found.z, found.sum

    def _normal(self, generator: torch.Generator, shape: tuple[int, ...] | None = None) -> Tensor:
        """Unit noise for this rank's examples of a batch, of the chain's shape or another."""
        shape = (self.settings.batch_size, *(self.shape if shape is None else shape))
        return torch.randn(shape, generator=generator, device=self.device)[self.rows]

    def _backward(self, x0: Tensor, cond: Tensor, draw: Draw, u: Tensor, rows: Tensor, last: bool) -> Tensor:
        """Gradient of one micro-batch, scaled so that micro-batches of all draws and ranks add up to the mean over the step's
        terms; [b, n, 2]: the objective's unweighted losses and the bound's terms (nats). `last`: of the whole step."""
        on_device = sent(rows, self.device)
        t, iw, u = (values[self.rows][rows].flatten() for values in (*draw.times, u))
        width = draw.eps.shape[1]
        eps = draw.eps[on_device].flatten(0, 1)
        x0, cond = (values[on_device].repeat_interleave(width, 0) for values in (x0, cond))
        step = self.diffusion.schedule.drawn(t, u)
        with nullcontext() if last or self.ranks.world == 1 else self.averaging.no_sync():  # type: ignore[operator]
            prediction = self.trained(self.diffusion.process.noised(x0, step.t, eps), step, cond)
            result = self.objective(prediction, x0, eps)
            weighted = sent(iw, self.device).to(result.loss) * result.loss
            if self.step == self.nan_at_step:
                weighted = weighted * math.nan
            terms = self.settings.batch_size * sum(self.timestep.widths)
            besides = 0.0 if result.besides is None else result.besides.sum()
            mean = (weighted.sum() + besides) / terms * self.ranks.world  # ranks are averaged
            (mean + reach(self.model, mean)).backward()
        return torch.stack([result.loss.detach(), result.nats.detach().to(result.loss)], 1).unflatten(0, (-1, width))

    def _observe(self) -> None:
        """Tell the timestep sampler of the steps that are LAG behind."""
        while len(self._unread) > LAG.get(self.device.type, 0):
            losses = self._unread.popleft()
            losses.check()
            self.timestep.observe(losses.t, losses.values()[:-1])

    def check(self) -> None:
        """FloatingPointError if a step left a gradient that is not finite. It is raised before the update, or on a GPU
        one step later, and always before anything of it is logged, validated or saved."""
        for losses in self._unread:
            losses.check()

    def _seed_step(self) -> dict[str, torch.Generator]:
        """Generators of this step's randomness; the global one serves dropout."""
        number = (self.seed * 0x9E3779B1 + self.step * 0x85EBCA77) % (1 << 63)
        torch.manual_seed(number + (self.ranks.rank << 40))
        cpu = torch.Generator().manual_seed(number + 1)
        return {
            "cpu": cpu,
            "device": torch.Generator(self.device).manual_seed(number + 2),
            "label": torch.Generator().manual_seed(number + 3),
            "augmentation": torch.Generator().manual_seed(number + 4),
        }

    def _row(self, lr: float, norm: float, x0: Tensor, space: Tensor) -> dict[str, float]:
        nats, loss = self.meter.read_window()
        schedule, unit = self.diffusion.schedule, self.diffusion.unit
        prior = self.diffusion.process.prior_kl(x0, schedule.level(torch.full((len(x0),), schedule.T)))
        prior = self.ranks.gather_parts((prior + space.to(prior)).detach(), self.settings.batch_size).mean()
        steps, seconds = self.step - self._logged_at[0], self.seconds - self._logged_at[1]
        self._logged_at = (self.step, self.seconds)
        return {
            "train/loss": loss,
            f"train/{unit.key}": float(unit.per_dim(prior + nats, math.prod(self.x_shape))),
            "train/grad_norm": norm,
            "train/lr": lr,
            **({"train/skipped": self.skipped} if self.settings.skip_nonfinite else {}),
            "train/images_per_s": steps * self.settings.batch_size / max(seconds, 1e-9),
            "train/memory_gb": memory_gb(self.device),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs, as one dict of tensors and plain values."""
        self.check()
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "timestep": self.timestep.state_dict(),
            "unread": [losses.state() for losses in self._unread],
            "meter": self.meter.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "best": self.best,
            "compute": self.compute.state() | {"ranks": self.ranks.world},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.timestep.load_state_dict(state["timestep"])
        self._unread = deque(_Losses(**losses) for losses in state.get("unread", ()))
        self.meter.load_state_dict(state["meter"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.skipped = state.get("skipped", 0)  # not in the checkpoints of 0.1.0's first days
        before = state.get("compute", self.compute.state())  # not in the checkpoints of 0.1.0's first days
        self.compute = self.compute.resumed(before, self.settings.precision, self.settings.compile, self.ranks.world)
        replace(self.settings, compile=self.compute.compile)  # refuses what does not go together
        for name in ("averaging", "trained"):
            self.__dict__.pop(name, None)


@dataclass(frozen=True)
class _Losses:
    """What a step leaves for the CPU: at t [B] the losses [B] and, behind them in `host`, the gradient's norm."""

    step: int
    lr: float
    t: Tensor
    host: Tensor
    copied: torch.cuda.Event | None = None  # on a GPU: after it, `host` holds them

    @classmethod
    def left(cls, step: int, lr: float, t: Tensor, losses: Tensor, norm: Tensor) -> _Losses:
        values = torch.cat([losses, norm.detach().to(losses).reshape(1)])
        if values.device.type != "cuda":
            return cls(step, lr, t, values)
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        return cls(step, lr, t, host, copied)

    def values(self) -> Tensor:
        if self.copied:
            self.copied.synchronize()
        return self.host

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "lr": self.lr, "t": self.t, "host": self.values().clone()}

    @property
    def finite(self) -> bool:
        return bool(self.values()[-1].isfinite())

    def check(self) -> None:
        if not self.finite:
            *losses, _ = self.values().tolist()
            raise FloatingPointError(
                f"the gradient of step {self.step} is not finite (loss {sum(losses) / len(losses):.4g}); lower optimizer.lr={self.lr:g}, "
                f"set trainer.precision=fp32, find the operation with debug=anomaly, or leave such steps out with trainer.skip_nonfinite=N."
            )


def memory_gb(device: torch.device) -> float:
    """Peak memory: of the device where it has its own, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
