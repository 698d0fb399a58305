"""Runs that were never trained: their terms are made up, their files are not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from difflab.compare.measurement import Measurement
from difflab.quality.record import MANIFOLD

MakeRun = Callable[..., Path]
DIMS = 4
DESIGN = {
    "method": "stratified",
    "examples": 5,
    "draws": 1,
    "times": 2,
    "exact_steps": 2,
    "last_steps": 0,
    "clip_x0": False,
    "seed": 0,
}


def chain(T: int, top: float = 7.0, bottom: float = -9.0) -> np.ndarray:
    """log SNR of a chain, [T + 1], slot 0 = inf."""
    return np.append(math.inf, np.linspace(top, bottom, T))


def rows_of(nats: np.ndarray, kept: np.ndarray, draws: int = 1) -> dict[str, np.ndarray]:
    """The list of draws whose weighted sums are nats [N, T + 1] where `kept` (bool, slot 0 no), each draw an equal part."""
    example, t = np.nonzero(kept & (np.arange(kept.shape[1]) > 0))
    example, t = example.repeat(draws), t.repeat(draws)
    return {
        "example": example.astype(np.int32),
        "t": t.astype(np.int32),
        "draw": np.tile(np.arange(draws, dtype=np.int32), len(t) // draws),
        "weight": np.full(len(t), 1 / draws),
        "nats": nats[example, t].astype(np.float32),
    }


def save(
    stem: Path,
    nats: np.ndarray,
    rows: dict[str, np.ndarray] | None = None,
    index: np.ndarray | None = None,
    log_snr: np.ndarray | None = None,
    **result: Any,
) -> None:
    """A measurement's files, as task=evaluate leaves them."""
    stem.parent.mkdir(exist_ok=True)
    N, T = nats.shape[0], nats.shape[1] - 1
    scale = 1 / (DIMS * math.log(2))
    total = nats.sum(1)
    arrays: dict[str, Any] = {
        "index": np.arange(N) if index is None else index,
        "log_snr": chain(T) if log_snr is None else log_snr,
        "dims": np.array(DIMS),
        "prior_kl": nats[:, 0],
        "total": total,
    }
    arrays |= {"nats": nats.astype(np.float32)} if rows is None else rows
    np.savez_compressed(stem.with_name(stem.name + ".npz"), **arrays)
    parts = {"bpd": total, "prior_kl": nats[:, 0], "transition_kl": nats[:, 2:].sum(1), "decoder_nll": nats[:, 1]}
    values: dict[str, Any] = {name: float(v.mean() * scale) for name, v in parts.items()}
    values |= {f"{name}_se": float(v.std() * scale / math.sqrt(N)) for name, v in parts.items()}
    values |= {
        "unit": "bpd", "split": "test", "split_sha256": "5" * 64, "clip_x0": False, "bound_seed": 0, "T": T, "step": 7,
        "examples": N, "nfe": N * T, "levels": 17, "decoder": "discretized_gaussian", "bound": DESIGN,
    }  # fmt: skip
    stem.with_name(stem.name + ".json").write_text(json.dumps(values | result))


def in_memory(nats: np.ndarray, name: str = "run", index: np.ndarray | None = None, **result: Any) -> Measurement:
    """A measurement without files."""
    N, T = nats.shape[0], nats.shape[1] - 1
    total = nats.sum(1)
    values = {"unit": "bpd", "bpd": float(total.mean()) / DIMS / math.log(2), "bound_seed": 0, "nfe": N * T, **result}
    index = np.arange(N) if index is None else index
    return Measurement(name, Path(name), Path(name), values, index, nats[:, 0], total, chain(T), DIMS)


def quality_record(distance: float, without: list[float] | None = None, **design: Any) -> dict[str, Any]:
    """What task=quality would leave, its distance without the bias given."""
    figures: dict[str, Any] = {
        "frechet_x": distance + 1,
        "frechet_x_se": 0.1,
        "frechet_x_corrected": distance,
        "examples": 50,
    }
    figures |= dict.fromkeys(MANIFOLD, 0.5) | {f"{name}_se": 0.02 for name in MANIFOLD}
    return {
        "key": "frechet_x", **figures, "held_out": {**figures, "frechet_x_corrected": 0.0}, "step": 6, "steps": 10, "samples": 50,
        "frechet_x_without": without or [distance] * 4, "features": "x", "features_sha256": "a" * 64, "sampler": "ddim", "split": "test",
        "reference": 40, "design": {"features_sha256": "a" * 64, "sampler": {"name": "ddim"}, "count": 50} | design,
    }  # fmt: skip
