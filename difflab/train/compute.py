"""How a run's network computes: in which type, compiled or not, on how many threads.

It is stored with the run and taken up again on resume, because each of the three changes the last digits.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..diffusion import Network
from ..errors import ConfigError
from ..precision import resolve

NEVER = "never"
COMPILE = ("auto", NEVER, "default", "reduce-overhead", "max-autotune")  # the last three: torch.compile's modes
WORTH = 2000  # steps from which auto compiles: the minute that compiling takes is then a small part of the run


@dataclass(frozen=True)
class Compute:
    """precision: fp32 or bf16; compile: never or a mode of torch.compile; threads: of the CPU's kernels."""

    precision: str
    compile: str
    threads: int

    @classmethod
    def choose(cls, precision: str, compile: str, steps: int, device: torch.device) -> Compute:
        """What trainer.precision and trainer.compile mean on this machine, for a run of so many steps."""
        if compile not in COMPILE:
            raise ConfigError(f"trainer.compile={compile} is not one of {', '.join(COMPILE)}.")
        if compile == "auto":
            compile = "default" if steps >= WORTH and compiling_pays(device) else NEVER
        return cls(resolve("trainer.precision", precision, device), compile, torch.get_num_threads())

    def resumed(self, saved: dict[str, Any], precision: str, compile: str) -> Compute:
        """This run's, where `precision` or `compile` name a choice, else what the run had before."""
        threads = self.threads if "OMP_NUM_THREADS" in os.environ else saved["threads"]
        return Compute(
            saved["precision"] if precision == "auto" else self.precision,
            saved["compile"] if compile == "auto" else self.compile,
            threads,
        )

    def state(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        compiled = "not compiled" if self.compile == NEVER else f"compiled ({self.compile})"
        return f"{self.precision}, {compiled}, {self.threads} thread{'s' if self.threads != 1 else ''}"


def compiling_pays(device: torch.device) -> bool:
    """On a GPU, and on a CPU whose matrix unit leaves normalisation and activations as the larger part. With vector units
    alone, convolutions are three quarters of the time, and compiling gains nothing (measured: 0.98 to 1.01 times)."""
    can = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return device.type == "cuda" or bool(can.get("amx_bf16"))


def compiled(model: nn.Module, mode: str, inputs: tuple[torch.Tensor, torch.Tensor], autocast: bool) -> Network:
    """The model compiled for inputs of this shape, tried once, forward and backward; or, where that does not work (no
    compiler, an operation that is not supported), the model itself and one line that says why."""
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "torch's cache on the disk")
    print(f"compiling the network: a minute or two, or seconds if {cache} holds it", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        fast: Network = torch.compile(model, mode=mode, dynamic=False)
        with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=autocast):
            out = fast(*inputs, None)
        out.float().sum().backward()
    except Exception as error:  # whatever a compiler and its back ends raise
        reason = str(error).strip().splitlines()
        print(
            f"not compiled, the run goes on without ({type(error).__name__}: {reason[0] if reason else ''})",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        fast = model
    else:
        print(f"compiled in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    model.zero_grad(set_to_none=True)
    return fast
