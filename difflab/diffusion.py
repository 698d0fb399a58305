"""p_theta(x_s|x_t): a network read through a schedule, a parameterization and a variance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from .decoder.base import Decoder
from .gaussian import Unit
from .parameterization.base import Parameterization
from .prediction import Reading
from .process.base import Process
from .schedule.base import Schedule, Step
from .space.base import Space
from .space.identity import Identity
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
    training must reach all of a part's parameters, DistributedDataParallel waits for them: add `reach`."""
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            network.add_module(PART + name, part)


def adopted(network: Any) -> dict[str, Any]:
    """{field: part} of what the network, or what is wrapped, has adopted."""
    network = unwrapped(network)
    children = network.named_children() if isinstance(network, nn.Module) else ()
    return {name.removeprefix(PART): child for name, child in children if name.startswith(PART)}


def reach(network: Any, like: Tensor) -> Tensor:
    """Zero, whose gradient (zero) reaches every parameter of the parts that the network has adopted; a scalar."""
    parameters = [p for part in adopted(network).values() for p in part.parameters() if p.requires_grad]
    return sum(((0 * p).sum() for p in parameters), like.new_zeros(()))


@dataclass(frozen=True)
class Diffusion:
    """The generative model: a network plus one choice of each group. `dataclasses.replace` makes variants of it."""

    model: Network
    process: Process
    schedule: Schedule
    parameterization: Parameterization
    variance: Variance
    decoder: Decoder
    space: Space = field(default_factory=Identity)  # x_0 of the chain is its z

    @property
    def unit(self) -> Unit:
        """What the bound is reported in."""
        return self.space.unit or self.decoder.unit

    @property
    def priced(self) -> bool:
        """Whether any jump between two levels is priced by the error of x0_hat, and the mean scored with other variances. Not in
        continuous time, where no variance enters and the errors are those of intervals, not of their ends."""
        return self.process.priced and not self.schedule.continuous

    def on(self, model: Network) -> Diffusion:
        """The same with a copy of the network (its average), and with that copy's own of the parts that it has adopted."""
        return replace(self, model=model, **adopted(model))

    def __call__(self, x_t: Tensor, step: Step, cond: Tensor | None = None) -> Reading:
        """One network evaluation for each example of x_t [B, ...]; `step` on the CPU, float64."""
        log_snr = step.t.log_snr.to(x_t.device, torch.float32)
        raw = self.model(self.process.seen(x_t), log_snr, cond)
        return self.process.read(raw, x_t, step, self.parameterization, self.variance)
