"""The type in which the layers between a network's ends compute. Coefficients, KL, decoder, weights, their average and
the ends themselves (model/base.py) are float32 or better, whatever is chosen here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .diffusion import Network
from .errors import ConfigError

NAMES = ("auto", "fp32", "bf16")


def resolve(key: str, name: str, device: torch.device) -> str:
    """fp32 or bf16; auto is bf16 where the device multiplies it in hardware. `key`: what the user calls `name`."""
    if name not in NAMES:
        raise ConfigError(f"{key}={name} is not one of {', '.join(NAMES)}.")
    if name == "auto":
        return "bf16" if multiplies_bf16(device) else "fp32"
    return name


def multiplies_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is more than an emulation there."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    can = cpu_capabilities() if device.type == "cpu" else {}
    return bool(can.get("amx_bf16") or can.get("avx512_bf16"))


def cpu_capabilities() -> Mapping[str, bool]:
    """What torch knows of this CPU's instructions; older versions know nothing."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def in_precision(model: Network, name: str, device: torch.device) -> Network:
    """The network computing in fp32 or bf16 (a resolved name)."""
    return BFloat16(model, device.type) if name == "bf16" else model


@dataclass(frozen=True)
class BFloat16:
    """A network under autocast. (`module` is what torch's wrappers call what they wrap.)"""

    module: Network
    device_type: str

    def __call__(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        with torch.autocast(self.device_type, torch.bfloat16):
            return self.module(x_t, log_snr, cond)
