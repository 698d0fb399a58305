"""How a run's network computes: in which type, compiled or not, on how many threads.

It is stored with the run and taken up again on resume, because each of the three changes the last digits.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..precision import cpu_capabilities, resolve
from ..ranks import Ranks

NEVER = "never"
COMPILE = ("auto", NEVER, "default", "reduce-overhead", "max-autotune")  # the last three: torch.compile's modes
GRAPHS = COMPILE[3:]  # those that record CUDA graphs
TRIES = 3  # of each shape: a mode that records graphs warms up, records and replays
WORTH, WORTH_MINUTES = 2000, 20  # from which auto compiles: the minute that it takes is then a small part of the run


@dataclass(frozen=True)
class Compute:
    """precision: fp32 or bf16; compile: never or a mode of torch.compile; threads: of the CPU's kernels."""

    precision: str
    compile: str
    threads: int

    @classmethod
    def choose(cls, precision: str, compile: str, steps: int, minutes: float | None, device: torch.device) -> Compute:
        """What trainer.precision and trainer.compile mean on this machine, for a run of at most so many steps or minutes."""
        if compile not in COMPILE:
            raise ConfigError(f"trainer.compile={compile} is not one of {', '.join(COMPILE)}.")
        if compile == "auto":
            long = steps >= WORTH and (minutes or WORTH_MINUTES) >= WORTH_MINUTES
            compile = "default" if long and compiling_pays(device) else NEVER
        return cls(resolve("trainer.precision", precision, device), compile, torch.get_num_threads())

    def resumed(self, saved: dict[str, Any], precision: str, compile: str, ranks: int) -> Compute:
        """This run's, where `precision` or `compile` name a choice, else what the run had before; its threads if as many
        `ranks` go on (torchrun gives each one thread) and OMP_NUM_THREADS does not say otherwise."""
        as_before = saved.get("ranks", ranks) == ranks and "OMP_NUM_THREADS" not in os.environ
        threads = saved["threads"] if as_before else self.threads
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
    alone, convolutions are three quarters of the time, and compiling gains nothing (measured: 0.98 to 1.01 times in one run, 1.00 in another)."""
    return device.type == "cuda" or (device.type == "cpu" and bool(cpu_capabilities().get("amx_bf16")))


def compiled(
    model: nn.Module, mode: str, inputs: Sequence[tuple[Tensor, ...]], autocast: bool, ranks: Ranks
) -> nn.Module:
    """The model compiled for each of the inputs (x_t, log_snr, cond), tried on them forward and backward; or, where that does not
    work on some rank (no compiler, an operation that is not supported), the model itself and one line that says why."""
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "torch's cache on the disk")
    print(f"compiling the network: a minute or two, or seconds if {cache} holds it", file=sys.stderr, flush=True)
    started, failure, fast = time.perf_counter(), "", model
    try:
        fast = torch.compile(model, mode=mode, dynamic=False)
        for given in [*inputs] * TRIES:
            with torch.autocast(given[0].device.type, torch.bfloat16, enabled=autocast):
                out = fast(*given)
            out.float().sum().backward()
            model.zero_grad(set_to_none=True)  # a recorded step writes over the gradients of the one before
    except Exception as error:  # whatever a compiler and its back ends raise
        failure = f"{type(error).__name__}: {''.join(str(error).strip().splitlines()[:1])}"
    model.zero_grad(set_to_none=True)
    if ranks.largest(bool(failure)):
        print(
            f"not compiled, the run goes on without ({failure or 'another process failed'})",
            file=sys.stderr,
            flush=True,
        )
        return model
    print(f"compiled in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return fast  # type: ignore[return-value]
