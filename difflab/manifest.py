"""Directories that are there in whole or not at all, with a manifest: sha256 and size of each file, written last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from .errors import ConfigError
from .files import UNREADABLE

MANIFEST = "manifest.json"
NEW, OLD, GONE = "new", "old", "gone"  # .NAME.new: being written; .NAME.old: being replaced; .NAME.gone: being deleted


def write(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Make the directory hold these files (names relative, with /) and their manifest, and nothing else: built aside, flushed,
    renamed into place."""
    aside, before = (directory.with_name(f".{directory.name}.{mark}") for mark in (NEW, OLD))
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    entries = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}
    files = {**files, MANIFEST: json.dumps(entries, indent=2).encode()}
    try:
        for name, data in files.items():
            if "/" in name:
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
            with open(aside / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _fsync_directory(aside)
        if directory.exists():
            shutil.rmtree(before, ignore_errors=True)
            os.replace(directory, before)
        os.replace(aside, directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _fsync_directory(directory.parent)
    shutil.rmtree(before, ignore_errors=True)
    return directory


def read(directory: Path, what: str, remedy: str, names: Collection[str] | None = None) -> dict[str, bytes]:
    """The files that the manifest lists, or those of them that are named, each as it was written. ConfigError names one that
    does not match, of `what` ("checkpoint"); other damage raises one of UNREADABLE."""
    entries, data = json.loads((directory / MANIFEST).read_bytes()), {}
    for name in entries if names is None else names:
        entry = entries[name]
        data[name] = (directory / name).read_bytes()
        if (hashlib.sha256(data[name]).hexdigest(), len(data[name])) != (entry["sha256"], entry["size"]):
            raise ConfigError(
                f"{what} {directory / name} is damaged: its contents do not match {MANIFEST}; use {remedy}."
            )
    return data


def as_written(directory: Path, name: str) -> bool:
    """Whether a file is what the manifest says (also: there is neither)."""
    try:
        entry = json.loads((directory / MANIFEST).read_bytes()).get(name)
        there = (directory / name).is_file()
        if entry is None or not there:
            return entry is None and not there
        return hashlib.sha256((directory / name).read_bytes()).hexdigest() == entry["sha256"]
    except UNREADABLE:
        return False


def _fsync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
