"""Checkpoints: a nested dict of tensors and plain values, on disk as safetensors and JSON, never as code.

    checkpoints/step_00001500/   model.safetensors ema.safetensors tensors.safetensors state.json manifest.json
    checkpoints/best/            the same, of the best validation

A checkpoint is built aside, flushed, given its manifest (sha256 and size of each file) last, and renamed into place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import manifest
from ..errors import ConfigError
from ..export import archive
from ..files import UNREADABLE
from ..manifest import GONE, NEW, OLD

STEP = re.compile(r"step_(\d+)$")


def save(directory: Path, state: dict[str, Any]) -> Path:
    """Write `state` ("model" and "ema": flat dicts of tensors; anything else: nested) as the directory: it is there in whole,
    or as it was. FloatingPointError, and nothing is written, if a number is not finite."""
    from safetensors.torch import save as to_bytes

    rest = {key: value for key, value in state.items() if key not in ("model", "ema")}
    tensors: dict[str, Tensor] = {}
    tree = _split(rest, "", tensors)
    for name, part in {"model": state["model"], "ema": state["ema"], "": tensors}.items():
        _check_finite(part, name, directory)
    files = {
        "model.safetensors": to_bytes(_contiguous(state["model"])),
        "ema.safetensors": to_bytes(_contiguous(state["ema"])),
        "tensors.safetensors": to_bytes(_contiguous(tensors)),
        "state.json": json.dumps(tree, allow_nan=False).encode(),
    }
    return manifest.write(directory, files)


def tidy(run_dir: Path) -> None:
    """Put right what a process that was killed in a save has left: the checkpoint that was to be replaced comes back if the
    new one had not taken its place. Only for who holds the run's directory."""
    for old in (run_dir / "checkpoints").glob(f".*.{OLD}"):
        place = old.with_name(old.name.removeprefix(".").removesuffix(f".{OLD}"))
        if not place.exists():
            os.replace(old, place)
    for mark in (NEW, OLD, GONE):
        for left in (run_dir / "checkpoints").glob(f".*.{mark}"):
            shutil.rmtree(left, ignore_errors=True)


def load(directory: Path) -> dict[str, Any]:
    """The saved dict; of an export, what archive.load says it has of one. ConfigError names the file that is missing or does
    not match the manifest."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    if archive.is_export(directory):
        return archive.load(directory)
    try:
        data = manifest.read(directory, "checkpoint", "an older checkpoint")
        state = _join(json.loads(data["state.json"]), from_bytes(data["tensors.safetensors"]))
        return {"model": from_bytes(data["model.safetensors"]), "ema": from_bytes(data["ema.safetensors"]), **state}
    except ConfigError:
        raise
    except (*UNREADABLE, SafetensorError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"checkpoint {directory} cannot be read ({why}); use another one.") from error


def newest_first(run_dir: Path) -> list[Path]:
    """The run's checkpoints, highest step first (names compared as numbers); `best` is not among them."""
    found = {int(m[1]): path for path in (run_dir / "checkpoints").glob("step_*") if (m := STEP.match(path.name))}
    return [found[step] for step in sorted(found, reverse=True)]


def latest(path: Path) -> Path:
    """The newest checkpoint of a run directory (or of its checkpoints/; the best where there is no other), or the
    checkpoint itself; absolute. ConfigError if there is none."""
    path = path.resolve()
    if (path / "manifest.json").exists():
        return path
    run = path.parent if path.name == "checkpoints" else path
    found = [*newest_first(run), run / "checkpoints" / "best"]
    if not found[0].exists():
        raise ConfigError(
            f"{path} holds no checkpoint; give a run directory (with checkpoints/) or one checkpoint in it."
        )
    return found[0]


def run_of(checkpoint: Path) -> Path:
    """The run directory that a checkpoint belongs to; an export is one of its own."""
    if archive.is_export(checkpoint):
        return checkpoint.resolve()
    return checkpoint.resolve().parent.parent


def set_aside(checkpoint: Path, why: str) -> None:
    """Rename a checkpoint so that nothing takes it for the run's state; nothing is deleted."""
    target, number = checkpoint.with_name(f"{why}_{checkpoint.name}"), 1
    while target.exists():
        target, number = checkpoint.with_name(f"{why}_{number}_{checkpoint.name}"), number + 1
    checkpoint.rename(target)


def leave_later(run_dir: Path, step: int) -> None:
    """Set aside the checkpoints after `step`: the run goes on anew from there, and they belong to what it leaves."""
    for later in newest_first(run_dir):
        if int(later.name.removeprefix("step_")) > step:
            set_aside(later, "left")


def prune(run_dir: Path, keep_last: int) -> None:
    """Delete all but the newest."""
    for old in newest_first(run_dir)[keep_last:]:
        gone = old.with_name(f".{old.name}.{GONE}")
        os.replace(old, gone)  # half of one must not be taken for a damaged one
        shutil.rmtree(gone)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _check_finite(tensors: dict[str, Tensor], part: str, directory: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise FloatingPointError(
                f"{f'{part}/{name}'.lstrip('/')} holds numbers that are not finite, so {directory} is not written; lower optimizer.lr, or go on "
                "from the checkpoint before with resume=auto and trainer.precision=fp32."
            )


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Move tensors out of a nested value; integer keys (torch optimizers have them) survive JSON as a marked list."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"<tensor>": path}
    if isinstance(value, dict):
        items = [(key, _split(item, f"{path}/{key}", tensors)) for key, item in value.items()]
        return (
            {"<items>": [list(item) for item in items]} if any(not isinstance(k, str) for k in value) else dict(items)
        )
    if isinstance(value, list | tuple):
        return [_split(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _join(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "<tensor>" in value:
            return tensors[value["<tensor>"]]
        if "<items>" in value:
            return {key: _join(item, tensors) for key, item in value["<items>"]}
        return {key: _join(item, tensors) for key, item in value.items()}
    return [_join(item, tensors) for item in value] if isinstance(value, list) else value
