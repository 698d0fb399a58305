"""A data set known by what an export says of it, whose examples are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ConfigError
from .base import Data, Null, save_grid


def facts(data: Data, places: Collection[str] = ()) -> dict[str, Any]:
    """What a model of these data must be told of them, as JSON. `places`: where they lie, which is nobody's business: a source
    that names one is left out."""
    told = {place for known in places for place in (known, str(Path(known).expanduser()))}
    return {
        "shape": list(data.shape), "levels": data.levels, "classes": data.classes, "example": data.example,
        "source": None if any(place in data.source for place in told) else data.source,
        "fingerprint": data.fingerprint,
    }  # fmt: skip


class Deferred(Data):
    """A model can be built, sampled and asked about somebody's own examples without the data it was trained on. Its splits,
    floors and all else that needs examples are those of `read()`; ConfigError if that finds none, or others than the `known`
    facts are of."""

    def __init__(self, known: Mapping[str, Any], read: Callable[[], Data]) -> None:  # not Data's: there are no splits
        self.shape, self.levels, self.classes = tuple(known["shape"]), known["levels"], known["classes"]
        self.known, self._read, self.example = known, read, known["example"]

    @cached_property
    def whole(self) -> Data:
        data = self._read()
        now = facts(data)
        if different := [key for key in ("shape", "levels", "classes") if now[key] != self.known[key]]:
            key = different[0]
            raise ConfigError(
                f"data: the {key} is {now[key]} here and was {self.known[key]} in training; give the same data (data.root, data.path)."
            )
        if name := other_split(now["fingerprint"], self.known["fingerprint"]):
            raise ConfigError(
                f"data: the {name} examples are others than those that this model was exported with; give those (data.root, data.path)."
            )
        return data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("whole", "known"):
            raise AttributeError(name)
        return getattr(self.whole, name)  # train, val, test, and what a data set has of its own

    @property
    def fingerprint(self) -> dict[str, Any]:
        return dict(self.known["fingerprint"])

    @property
    def null(self) -> Null | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.whole.null

    @property
    def source(self) -> str:
        return self.known["source"] or self.whole.source

    def floors(self) -> dict[str, float]:
        return self.whole.floors()

    def show(self, x0: Tensor, path: Path, columns: int | None = None) -> Path:
        try:
            data = self.whole
        except ConfigError:
            if len(self.shape) != 3 or self.shape[0] not in (1, 3):
                raise
            return save_grid(self, x0, path, columns)
        return data.show(x0, path, columns)


def other_split(found: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """The first split of other examples than those that `known` tells of (both: Data.fingerprint)."""
    return next((name for name, value in found.items() if list(value) != list(known[name])), None)
