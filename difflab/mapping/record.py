"""RUN/mapping/step_NNNNNNNN.npz: what task=mapping saw, small enough to show whole; read without torch.

t int64 [L], rising; log_snr float64 [L]
forward [L + 1, N, ...] reverse [L + 1, M, ...] x0_hat [L, M, ...]    from t = 0 (x0_hat: from t[0]) to t[-1]; pictures as uint8
                                                                   [C, H, W], of vectors the first two coordinates, float32
path_t [P]; forward_path, reverse_path [P, M, 2]                   vectors: more levels of some of the points, t = 0 first
chain_t, chain_log_snr                                             the whole chain, in at most CHAIN levels
coefficients [BANDS]; power, power_se, drowned_t, drowned_log_snr [BANDS], noised_power, noised_power_se [L, BANDS]
                                                                   pictures: spectra; centred_*: about the mean picture
about                                                              JSON: of which checkpoint and sampler
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import UNREADABLE, write_atomically

FOLDER = "mapping"


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Path:
    text = np.array(json.dumps(about, sort_keys=True))
    return write_atomically(
        path, lambda file: np.savez_compressed(file, allow_pickle=False, about=text, **arrays), binary=True
    )


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return arrays, json.loads(str(arrays.pop("about")))


def weights(checkpoint: Path) -> str | None:
    """What tells a checkpoint's averaged weights from others: their sha256 in its manifest; None if it has none."""
    try:
        return json.loads((checkpoint / "manifest.json").read_bytes())["ema.safetensors"]["sha256"]
    except UNREADABLE:
        return None


def newest(run: Path) -> Path | None:
    """The run's record of the highest step."""
    return max((run / FOLDER).glob("step_*.npz"), default=None)


def made_of(run: Path, checkpoint: Path) -> bool:
    """Whether the run's record is one of this checkpoint's weights."""
    path = newest(run)
    try:
        return path is not None and load(path)[1]["weights"] == weights(checkpoint)
    except UNREADABLE:
        return False
