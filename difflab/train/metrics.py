"""metrics.jsonl: every logged row, one strict-JSON object a line, the record of truth."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import write_atomically


class MetricsFile:
    """Appends rows to `path`; a row is on its way to the disk when `write` returns.

    `resume_at`: go on from a checkpoint of that step, so rows of later steps (written between the checkpoint and the
    end of the interrupted run) and the summary of its end are dropped, as they will be written again. None keeps every row. Either way a last line
    that a killed process left torn is removed.

    `saved`: what `state` said when that checkpoint was saved. If the file does not begin with those rows, `damage` says so in a
    sentence: it is set aside, and what can be read of it stays.
    """

    def __init__(self, path: Path, resume_at: int | None = None, saved: Mapping[str, Any] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.damage: str | None = None
        lines: list[str] = []
        if path.exists() or saved:
            rows = read(path, skip=saved is not None) if path.exists() else []
            lines = [_line(row) for row in rows if resume_at is None or _is_before(row, resume_at)]
            if saved and saved != _state(lines[: saved["rows"]]):
                whole = path.exists() and path.read_bytes() == "".join(map(_line, rows)).encode()
                self.damage = (
                    f"{path} does not hold the {saved['rows']} rows that it had when the checkpoint was saved; "
                    f"{'those that it has' if whole else _aside(path)} go on."
                )
            text = "".join(lines)
            if not path.exists() or path.read_bytes() != text.encode():
                write_atomically(path, lambda file: file.write(text))
        self._count, self._digest = len(lines), hashlib.sha256("".join(lines).encode())
        self._file = path.open("a", encoding="utf-8", newline="")

    def write(self, row: Mapping[str, Any]) -> None:
        """One row; it holds its `step`. NaN and infinities become null, paths strings, arrays lists."""
        if "step" not in row:
            raise KeyError("a row of metrics.jsonl needs its step")
        line = _line(row)
        self._count += 1
        self._digest.update(line.encode())
        self._file.write(line)
        self._file.flush()

    def state(self) -> dict[str, Any]:
        """{rows, sha256 of their lines} so far, all of them on the disk when this returns."""
        os.fsync(self._file.fileno())
        return {"rows": self._count, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        self._file.close()


def read(path: Path, skip: bool = False) -> list[dict[str, Any]]:
    """The file's rows; a torn last line is left out. ConfigError names a damaged line anywhere else, or `skip` leaves it out."""
    lines = [(number, line) for number, line in enumerate(path.read_bytes().split(b"\n"), 1) if line.strip()]
    rows = []
    for number, line in lines:
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise ValueError("no row with a step")
            rows.append(row)
        except (ValueError, RecursionError) as error:
            if skip or number == lines[-1][0]:
                continue
            raise ConfigError(
                f"{path}, line {number} is damaged ({error}); restore the file, or take that line out."
            ) from error
    return rows


def _is_before(row: Mapping[str, Any], resume_at: int) -> bool:
    return row["step"] <= resume_at and "summary" not in row


def _state(lines: Sequence[str]) -> dict[str, Any]:
    return {"rows": len(lines), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def _aside(path: Path) -> str:
    """Rename a damaged file: nothing is deleted."""
    if not path.exists():
        return "it is gone, and the steps to come"
    number, target = 1, path.with_name(f"damaged_{path.name}")
    while target.exists():
        target, number = path.with_name(f"damaged_{number}_{path.name}"), number + 1
    path.rename(target)
    return f"it is set aside as {target.name}, and those that can be read"


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
