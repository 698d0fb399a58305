"""An export on disk; all of it is data, and nothing of it is run.

model.safetensors                 one set of weights, what the chain has learned (`part_*`) among them
config.json                       RECORD: everything else that builds the model again, and what was measured
README.md                         the model card: the user's to edit, so nothing is read from it
samples.png or .txt               where the run has drawn some of these weights
scheduler/scheduler_config.json   where diffusers has a counterpart
manifest.json                     sha256 and size of each file, as in a checkpoint
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import manifest
from ..errors import ConfigError
from ..files import UNREADABLE

RECORD, WEIGHTS, CARD, SCHEDULER = "config.json", "model.safetensors", "README.md", "scheduler/scheduler_config.json"
SAMPLES = ("samples.png", "samples.txt")
OWN = {
    manifest.MANIFEST,
    RECORD,
    WEIGHTS,
    CARD,
    SCHEDULER.partition("/")[0],
    *SAMPLES,
}  # what an export's directory holds
FORMAT = 1
_COPY = "another copy of it, or export it again"


def is_export(path: Path) -> bool:
    return (path / RECORD).is_file() and (path / manifest.MANIFEST).is_file()


def record(directory: Path) -> dict[str, Any]:
    """RECORD: format, version (of difflab), step, weights ("ema" or "raw"), config, choices, facts (see data/_deferred.py),
    parameters, result (figures of the bound, {} where none was measured). ConfigError for one that is damaged or of later days."""
    try:
        found = json.loads(manifest.read(directory, "export", _COPY, (RECORD,))[RECORD])
        if found["format"] > FORMAT:
            raise ConfigError(
                f"export {directory} was made by difflab {found['version']}, whose exports are of format {found['format']} (here: {FORMAT}); use that version."
            )
        facts, step = found["facts"], found["step"]
        sizes, levels, classes = facts["shape"], facts["levels"], facts["classes"]
        numbers = [*sizes, classes, step, *([] if levels is None else [levels])]
        if not all(type(n) is int and n >= 0 for n in numbers) or not 1 <= len(sizes) <= 3 or 0 in sizes:
            raise ValueError(f"shape {sizes}, {levels} levels, {classes} classes at step {step}")
        if not all(isinstance(part, Mapping) for part in (found["config"], found["choices"], found["result"])):
            raise ValueError("its parts are no mappings")
        for name in ("example", "source"):
            if facts[name] is not None and type(facts[name]) is not str:
                raise ValueError(f"facts.{name} is no text")
        for name in ("train", "val", "test"):
            count, digest = facts["fingerprint"][name]
            if type(count) is not int or type(digest) is not str:
                raise ValueError(f"facts.fingerprint.{name}")
        return found
    except ConfigError:
        raise
    except UNREADABLE as error:
        raise _unreadable(directory, error) from error


def load(directory: Path) -> dict[str, Any]:
    """What checkpoint.load gives, as far as an export has it: `ema` are its weights, whichever they were; no `model`, nothing to
    train on with."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    found = record(directory)
    try:
        weights = from_bytes(manifest.read(directory, "export", _COPY, (WEIGHTS,))[WEIGHTS])
    except ConfigError:
        raise
    except (*UNREADABLE, SafetensorError) as error:
        raise _unreadable(directory, error) from error
    return {
        "ema": weights, "step": found["step"], "design": found["config"], "data": found["facts"]["fingerprint"],
        "facts": found["facts"],
    }  # fmt: skip


def save(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files of an export, in the place of an earlier one. ConfigError where there is something else, or a card that
    somebody has edited."""
    if directory.exists() and not is_export(directory) and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"task.dir={directory} holds something that is no export; choose another directory.")
    if is_export(directory) and not manifest.as_written(directory, CARD):
        raise ConfigError(
            f"task.dir={directory} holds an export whose {CARD} was edited; choose another directory, or delete that one."
        )
    if directory.exists() and (more := sorted(path.name for path in directory.iterdir() if path.name not in OWN)):
        raise ConfigError(
            f"task.dir={directory} holds more than an export ({more[0]}), which would be lost; choose another directory, or move it."
        )
    return manifest.write(directory.resolve(), files)


def _unreadable(directory: Path, error: Exception) -> ConfigError:
    return ConfigError(f"export {directory} cannot be read ({type(error).__name__}: {error}); use {_COPY}.")
