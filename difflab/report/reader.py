"""The files of one run, read so that a damaged one is a sentence and not the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import UNREADABLE


@dataclass
class Reader:
    """Reads the files of one run; `notes` are the sentences about those that it could not read."""

    directory: Path
    notes: list[str] = field(default_factory=list)

    def read(self, name: str, how: Callable[[Path], Any]) -> Any:
        """how(path), or None where the file is absent (silently) or damaged (with a note)."""
        path = self.directory / name
        if not path.exists():
            return None
        try:
            return how(path)
        except UNREADABLE as error:
            why = " ".join(str(error).split())[:160] or type(error).__name__
            self.notes.append(f"{name} cannot be read ({why}); it is left out.")
            return None
