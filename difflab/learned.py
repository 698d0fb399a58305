"""What parts of the diffusion that learn beside the network (diffusion.adopt) have in common."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from .errors import ConfigError


def learns(part: Any) -> bool:
    """Whether the part has something for a gradient to move."""
    return isinstance(part, nn.Module) and any(p.requires_grad for p in part.parameters())


def at_speed(parameter: Tensor, speed: float) -> Tensor:
    """speed * parameter, float64, with the gradient of `parameter` alone: an optimizer that does not mind the scale of a
    gradient (Adam) moves it `speed` times as far as a weight, and in the clipped norm of all gradients it counts as one."""
    parameter = parameter.double()
    return parameter + (speed - 1) * parameter.detach()


def check_speed(key: str, speed: float) -> None:
    """ConfigError unless it is a positive number."""
    if not 0 < speed < math.inf:
        raise ConfigError(f"{key}={speed} must be a positive number: so many times optimizer.lr; 30 is a good value.")
