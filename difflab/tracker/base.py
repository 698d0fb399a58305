"""What a run says to the outside: one row a global step, a summary at the end. Null object: `none`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STEP = "trainer/step"  # the x axis of every logged key


@dataclass(frozen=True)
class Curve:
    """A table that is drawn as a line: column `y` over column `x`."""

    columns: list[str]
    rows: list[list[float]]
    x: str
    y: str
    title: str


@dataclass(frozen=True)
class Rows:
    """A table that is shown as one; None: not known."""

    columns: list[str]
    rows: list[list[float | int | str | None]]


@dataclass(frozen=True)
class RunInfo:
    """What a run is called. `id`: the tracker's own name of a run that is resumed (kept in the checkpoint)."""

    name: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: Sequence[str] = field(default_factory=tuple)
    notes: str | None = None
    id: str | None = None


class Tracker(ABC):
    """A view of the run. It must never stop or delay it: no method raises, whatever becomes of the tracker."""

    @property
    @abstractmethod
    def id(self) -> str | None:
        """The tracker's name of this run, to resume it under; None before `start`."""

    @abstractmethod
    def start(self, run_dir: Path, config: Mapping[str, Any], run: RunInfo) -> None:
        """Begin. Files go below `run_dir`; `config` is the composed configuration."""

    @abstractmethod
    def log(
        self,
        step: int,
        scalars: Mapping[str, float | None],
        images: Mapping[str, Path] | None = None,
        curves: Mapping[str, Curve] | None = None,
        tables: Mapping[str, Rows] | None = None,
    ) -> None:
        """Everything known at a global step, in ONE call: scalars, pictures (files, copied at once; a .txt is a list of lines,
        such as samples of text), curves and tables."""

    @abstractmethod
    def summary(self, values: Mapping[str, float | str | None]) -> None:
        """The run's final figures; `objective` (what a sweep optimises) is one of them."""

    @abstractmethod
    def artifact(self, path: Path, name: str) -> None:
        """Keep a file or directory with the run, if the configuration asks for that."""

    @abstractmethod
    def finish(self, exit_code: int = 0) -> None:
        """End the run and leave nothing in the process. Every other method is a no-op from here on."""
