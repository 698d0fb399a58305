"""Published files: where they may lie on this machine, and how they are fetched."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from ..errors import ConfigError

TIMEOUT = 20  # seconds without an answer: a machine without a network must not hang


def named(root: str | None) -> Path | None:
    """The folder that the user names: data.root, else the environment variable DIFFLAB_DATA."""
    place = root or os.environ.get("DIFFLAB_DATA")
    return Path(place).expanduser() if place else None


def usual() -> list[Path]:
    """Where sets lie that nobody names: Debian's packages; torchvision's `root` as its examples set it; our downloads."""
    home = [Path.home() / part for part in ("data", "datasets", ".cache/torch/datasets")]
    return [Path("/usr/share/datasets"), Path("data"), cache(), *home]


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "difflab"


def fetch(source: str, path: Path, published: Callable[[bytes], bool]) -> None:
    """What `source` answers, judged before it gets its name; ConfigError if it cannot be had, kept or is another file."""
    try:
        with urllib.request.urlopen(source, timeout=TIMEOUT) as answer:
            content = answer.read()
    except (OSError, ValueError, HTTPException) as error:  # URLError is an OSError; ValueError: not a URL
        raise ConfigError(
            f"data.url: {source} could not be fetched ({error}): connect to a network, give another mirror, or "
            "set data.root or DIFFLAB_DATA to a folder that holds the files."
        ) from error
    if not published(content):
        raise ConfigError(f"data.url: {source} is not the published file (its sha256 differs): give another mirror.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(
            f"{path.parent} cannot be written ({error}): set XDG_CACHE_HOME to a folder that can."
        ) from error
