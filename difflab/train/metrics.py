"""metrics.jsonl: every logged row, one strict-JSON object a line, the record of truth."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import write_atomically


class MetricsFile:
    """Appends rows to `path`; a row is on its way to the disk when `write` returns.

    `resume_at`: go on from a checkpoint of that step, so rows of later steps (written between the checkpoint and the
    end of the interrupted run) and the summary of its end are dropped, as they will be written again. None keeps every row. Either way a last line
    that a killed process left torn is removed.
    """

    def __init__(self, path: Path, resume_at: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = [
                row for row in read(path) if resume_at is None or (row["step"] <= resume_at and "summary" not in row)
            ]
            text = "".join(_line(row) for row in kept)
            if path.read_bytes() != text.encode():
                write_atomically(path, lambda file: file.write(text))
        self._file = path.open("a", encoding="utf-8", newline="")

    def write(self, row: Mapping[str, Any]) -> None:
        """One row; it holds its `step`. NaN and infinities become null, paths strings, arrays lists."""
        if "step" not in row:
            raise KeyError("a row of metrics.jsonl needs its step")
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The file's rows; a torn last line is left out. ConfigError names a damaged line anywhere else."""
    lines = [(number, line) for number, line in enumerate(path.read_bytes().split(b"\n"), 1) if line.strip()]
    rows = []
    for number, line in lines:
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or "step" not in row:
                raise ValueError("no row with a step")
            rows.append(row)
        except ValueError as error:
            if number == lines[-1][0]:
                break
            raise ConfigError(
                f"{path}, line {number} is damaged ({error}); restore the file, or take that line out."
            ) from error
    return rows


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(_strict(row), allow_nan=False, ensure_ascii=False) + "\n"


def _strict(value: Any) -> Any:
    """What JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "tolist"):  # arrays, tensors and their scalars
        return _strict(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _strict(dataclasses.asdict(value))
    return str(value)
