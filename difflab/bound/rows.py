"""Where an evaluation's rows go: into memory, or onto the disk, from where an interrupted evaluation goes on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..files import UNREADABLE, write_json


class Rows:
    """An append-only table of float32 [rows, width] in memory."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self.width = 0

    def open(self, width: int) -> int:
        """Begin; returns how many whole rows are there already."""
        self.width = width
        return 0

    def append(self, values: np.ndarray) -> None:
        self._parts.append(values)

    def truncate(self, count: int) -> None:
        """Keep the first `count` rows."""
        self._parts = [self.array()[:count]]

    def array(self) -> np.ndarray:
        if len(self._parts) != 1:
            self._parts = [np.concatenate([np.empty((0, self.width), np.float32), *self._parts])]
        return self._parts[0]

    def close(self) -> None:
        """Nothing is appended any more."""

    def discard(self) -> None:
        """The rows are not needed any more."""
        self._parts = []


class StoredRows(Rows):
    """The same in the file `path`, which outlives the process. `identity` (JSON) says what the rows are rows of: rows of
    anything else are dropped. `state` (JSON) is kept beside them: what the design had learned when it planned them."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        super().__init__()
        self.path, self.record = path, path.with_name(path.name + ".json")
        self.identity = json.loads(json.dumps(identity))
        self.state = self._saved_state()
        self._count = 0

    def _saved_state(self) -> dict[str, Any] | None:
        try:
            saved = json.loads(self.record.read_bytes())
            return saved["state"] if saved["identity"] == self.identity else None
        except UNREADABLE:
            return None

    def begin(self, state: dict[str, Any]) -> None:
        """Start a file of rows planned with `state`; whatever was there is gone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        write_json(self.record, {"identity": self.identity, "state": state})
        self.state = state

    def open(self, width: int) -> int:
        self.width = width
        size = self.path.stat().st_size if self.path.exists() else 0
        self._file = open(self.path, "ab")  # noqa: SIM115 (open as long as the evaluation)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"{self.path}: another process is making this very evaluation; wait for it, or choose another bound.seed."
            ) from error
        self.truncate(size // (4 * width))
        return self._count

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, np.float32).tobytes())
        self._file.flush()  # a killed process loses nothing that was appended
        self._count += len(values)

    def truncate(self, count: int) -> None:
        self._file.flush()
        os.ftruncate(self._file.fileno(), count * 4 * self.width)
        self._count = count

    def array(self) -> np.ndarray:
        if not self._count:
            return np.empty((0, self.width), np.float32)
        return np.memmap(self.path, np.float32, "r", shape=(self._count, self.width))

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)
