"""A measured bound read back from its files: totals at once, terms block by block from the disk."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..files import UNREADABLE
from ..gaussian import BITS, NATS, Unit
from ..tables import SPACE

NAMES = ("index", "log_snr", "dims", "prior_kl", "total")  # of a measurement's npz, small; the terms are beside them


@dataclass(frozen=True)
class Measurement:
    """One bound: `result` as in its JSON file, per-example values (nats) in the order of `index`, terms in `stem`.npz."""

    name: str
    directory: Path  # the run
    stem: Path  # of the measurement's files
    result: Mapping[str, Any]
    index: np.ndarray  # int64 [N]
    prior_kl: np.ndarray  # float64 [N]
    total: np.ndarray  # float64 [N]
    log_snr: np.ndarray  # float64 [T + 1], slot 0 = inf
    dims: int
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)  # what its space adds: {term: float64 [N]}

    @property
    def T(self) -> int:
        return len(self.log_snr) - 1

    @property
    def label(self) -> int | str:
        """T as it was chosen: inf in continuous time, whose intervals T counts."""
        return self.result.get("T", self.T)

    @property
    def unit(self) -> Unit:
        return BITS if self.result["unit"] == BITS.key else NATS

    def space(self, terms: Sequence[str], positions: np.ndarray) -> np.ndarray:
        """What those terms of a space are to the examples at `positions`, float64 [n, terms]; 0 for terms of other spaces."""
        nothing = np.zeros(len(self.index))
        return np.stack([np.zeros(len(positions)), *(self.parts.get(t, nothing)[positions] for t in terms)], 1)[:, 1:]

    @property
    def scale(self) -> float:
        """nats per example -> the unit, per dimension."""
        return 1 / (self.dims * self.unit.nats)

    @property
    def bound(self) -> float:
        return self.value(self.unit.key)

    @property
    def nfe(self) -> float:
        """Network evaluations that one example took."""
        return self.value("nfe") / len(self.index)

    def value(self, name: str) -> float:
        """A figure of the result; NaN where it is not defined or older than the key."""
        value = self.result.get(name)
        return math.nan if value is None else float(value)


def read(directory: Path, stem: Path, result: Mapping[str, Any], name: str) -> Measurement:
    """The measurement `stem`; ConfigError if its files cannot be read or contradict each other."""
    try:
        with np.load(stem.with_name(stem.name + ".npz")) as file:
            index, log_snr, dims, prior_kl, total = (file[key] for key in NAMES)
            parts = {key: file[key] for key in file.files if key.startswith(SPACE)}
        measurement = Measurement(
            name,
            directory,
            stem,
            result,
            index.astype(np.int64),
            prior_kl,
            total,
            log_snr.astype(float),
            int(dims),
            parts,
        )
        stated, mean = measurement.bound, float(np.mean(total)) * measurement.scale
    except UNREADABLE as error:
        raise ConfigError(
            f"{directory} cannot be compared ({stem.name}.npz: {error}); make it whole with resume={directory}."
        ) from error
    if math.isfinite(stated) and not math.isclose(mean, stated, rel_tol=1e-5, abs_tol=1e-6):
        raise ConfigError(
            f"{directory}: the terms in {stem.name}.npz add up to {mean:.6g} and its result says {stated:.6g}; the run's files "
            f"were changed, make them whole with resume={directory}."
        )
    return measurement


def read_own(directory: Path, name: str = "") -> Measurement:
    """A finished run's own measurement, which result.json rests on."""
    try:
        result = json.loads((directory / "result.json").read_bytes())
        stem = directory / "bound" / f"step_{result['step']:08d}"
        if not isinstance(result["unit"], str):
            raise TypeError("unit is no text")
    except UNREADABLE as error:
        raise ConfigError(
            f"{directory} cannot be compared (result.json: {error}); make it whole with resume={directory}."
        ) from error
    return read(directory, stem, result, name or directory.name)
