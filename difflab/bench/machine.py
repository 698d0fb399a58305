"""What the machine is, and what it can do at most."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..precision import cpu_capabilities

PACKAGES = ("difflab", "torch", "numpy", "diffusers", "denoising-diffusion-pytorch")
CONVOLUTIONS = ((32, 64, 32), (64, 128, 16), (64, 256, 8))  # batch, channels, size: the widths of the networks measured
MATRIX = 2048
COPIED = 256 << 20  # bytes


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, threads, versions, commit."""
    can = cpu_capabilities()
    return {
        "device": device.type,
        "name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "flags": {name: bool(can.get(name)) for name in ("avx512_f", "avx512_bf16", "amx_bf16")},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len((_git("status", "--porcelain") or "").splitlines()),
    }


def peaks(device: torch.device, seconds: float) -> dict[str, float]:
    """GFLOP/s of the fastest convolution (3 x 3, either layout) forward and backward and of a matrix product, in both
    precisions; bandwidth in GB/s. Each figure is the best of several tries of at least `seconds` together."""
    result = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        tries = [(shape, layout) for shape in CONVOLUTIONS for layout in (torch.channels_last, torch.contiguous_format)]
        rates = [_convolution(device, dtype, layout, *shape, seconds=seconds) for shape, layout in tries]
        result[f"conv_{name}"] = max(forward for forward, _ in rates)
        result[f"conv_{name}_backward"] = max(backward for _, backward in rates)
        a = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
        result[f"matmul_{name}"] = 2 * MATRIX**3 / 1e9 / _best(lambda a=a: a @ a, device, seconds)
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    result["copy_gb"] = 2 * COPIED / 1e9 / _best(lambda: target.copy_(source), device, seconds)
    return result


def _convolution(
    device: torch.device,
    dtype: torch.dtype,
    layout: torch.memory_format,
    batch: int,
    channels: int,
    size: int,
    seconds: float,
) -> tuple[float, float]:
    """(forward, backward) in GFLOP/s; the backward pass is two convolutions."""
    x = torch.randn(batch, channels, size, size, device=device, dtype=dtype, requires_grad=True)
    w = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype, requires_grad=True)
    x, w = (y.detach().to(memory_format=layout).requires_grad_() for y in (x, w))
    gflop = 2 * batch * size**2 * channels**2 * 9 / 1e9
    with torch.no_grad():
        forward = _best(lambda: F.conv2d(x, w, padding=1), device, seconds)
    out = F.conv2d(x, w, padding=1)
    gradient = torch.ones_like(out)
    backward = _best(lambda: torch.autograd.grad(out, (x, w), gradient, retain_graph=True), device, seconds)
    return gflop / forward, 2 * gflop / backward


def _best(run: Callable[[], Tensor | tuple[Tensor, ...]], device: torch.device, seconds: float) -> float:
    """The shortest time of a call."""
    best, until = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < until:
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    """Output of a git command in the source tree; None where there is no git or no repository."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
