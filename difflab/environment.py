"""What a run ran on, written down beside it."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .files import write_atomically

PACKAGES = (
    "difflab",
    "torch",
    "numpy",
    "hydra-core",
    "omegaconf",
    "wandb",
    "einops",
    "timm",
    "safetensors",
    "matplotlib",
)


def write_environment(run_dir: Path, device: torch.device) -> Path:
    """environment.txt: versions, device, git commit and the diff of a dirty tree."""
    lines = [f"python {sys.version.split()[0]}", f"platform {platform.platform()}"]
    for package in PACKAGES:
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} not installed")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    lines += [f"device {device} ({name})", f"threads {torch.get_num_threads()}", f"command {' '.join(sys.argv)}"]
    source = Path(__file__).resolve().parent
    # only the repository that tracks this file: an installed package may lie inside somebody else's
    if _git(source, "ls-files", "--error-unmatch", "environment.py") and (commit := _git(source, "rev-parse", "HEAD")):
        lines += [f"git {commit.strip()}", _git(source.parent, "diff", "HEAD") or "working tree clean"]
    return write_atomically(run_dir / "environment.txt", lambda file: file.write("\n".join(lines) + "\n"))


def _git(directory: Path, *words: str) -> str | None:
    """Output of a git command in the source tree; None where there is no git or no repository."""
    try:
        return subprocess.run(
            ["git", "-C", str(directory), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
