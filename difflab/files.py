"""Files that are written whole or not at all, and what reading one that is damaged may raise."""

from __future__ import annotations

import csv
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

# One bit is enough for each of them: a zip's members may seem encrypted or compressed in a way that nobody knows
# (RuntimeError and its NotImplementedError), an array as large as no memory is, a number a word.
UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, MemoryError, zlib.error,
    zipfile.BadZipFile, csv.Error, yaml.YAMLError,
)  # fmt: skip

PRUNED = "pruned.json"  # in the directory of a run that a search has ended early


def write_atomically(path: Path, write: Callable[[Any], Any], binary: bool = False) -> Path:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") if binary else open(aside, "w", encoding="utf-8", newline="") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Strict JSON (no NaN), indented, atomically."""
    return write_atomically(path, lambda file: json.dump(value, file, indent=2, allow_nan=False))
