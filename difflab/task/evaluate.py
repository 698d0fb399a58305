"""The bound of a checkpoint's EMA weights on held-out data: ledger, per-example terms, figures, one printed table."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..allocator import keep_large_blocks
from ..assemble import Laboratory, assemble
from ..bound import ledger
from ..bound.base import Design
from ..bound.estimator import Estimate, evaluate_modes
from ..bound.insight import optimal_variance_bound
from ..console import Progress, bound_table
from ..data.base import Split
from ..diffusion import Diffusion
from ..files import write_json
from ..train import checkpoint
from ..train.signals import Stop

OnBatch = Callable[[int, int], None]


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=evaluate run=RUN_DIR_OR_CHECKPOINT [bound...]: written into that run's bound/."""
    lab, diffusion, step, source = opened(config)
    home = checkpoint.run_of(source)
    # beside the run's own measurement, which result.json and comparisons rest on, not over it
    path = home / "bound" / f"{stem(step)}-{config['bound']['method']}"
    with Stop() as stop, Progress("evaluating", unit="nfe") as bar:
        result = measure(lab, diffusion, lab.data.test, lab.bound, path, watch(bar, stop))
    result |= {"step": step, "checkpoint": str(source)}
    write_json(path.with_name(path.name + ".json"), finite(result))
    print(table(result, lab), flush=True)
    return result


def opened(config: dict[str, Any]) -> tuple[Laboratory, Diffusion, int, Path]:
    """What `run=` names: its parts, the diffusion with the EMA weights, their step, the checkpoint they come from."""
    keep_large_blocks()
    lab, source = assemble(config), checkpoint.latest(Path(config["run"]))
    return lab, *lab.at(source), source


def stem(step: int) -> str:
    return f"step_{step:08d}"


def watch(bar: Progress, stop: Stop) -> OnBatch:
    """Show progress and honour a request to stop between two batches."""

    def on_batch(done: int, total: int) -> None:
        bar.update(done, total)
        stop.check()

    return on_batch


def estimates(lab: Laboratory, diffusion: Diffusion, split: Split, design: Design, on_batch: OnBatch) -> list[Estimate]:
    """The design's own clip mode first, then, for data with a range, the other: two bounds from the same evaluations."""
    modes = (design.clip_x0, not design.clip_x0) if diffusion.decoder.discrete else (False,)
    return evaluate_modes(diffusion, lab.examples(split), design, lab.device, modes, on_batch)


def measure(
    lab: Laboratory, diffusion: Diffusion, split: Split, design: Design, path: Path, on_batch: OnBatch
) -> dict[str, Any]:
    """Evaluate and write PATH.csv, PATH.npz (and PATH-clipped or -unclipped beside them); returns the totals."""
    own, *others = estimates(lab, diffusion, split, design, on_batch)
    result: dict[str, Any] = dict(totals(own))
    for estimate in (own, *others):
        name = path.name if estimate is own else f"{path.name}-{'clipped' if estimate.clip_x0 else 'unclipped'}"
        ledger.build(estimate).save(path.with_name(name + ".csv"))
        ledger.save_terms(estimate, path.with_name(name + ".npz"))
    for other in others:
        result["clipped" if other.clip_x0 else "unclipped"] = totals(other)
    return result | {
        "unit": own.unit.key,
        "split": split.name,
        "split_sha256": split.sha256,
        "clip_x0": own.clip_x0,
        "bound_seed": design.seed,
        "T": own.T,
        "floors": lab.data.floors(),
    }


def totals(estimate: Estimate) -> dict[str, float]:
    result = dict(ledger.build(estimate).totals)
    key = f"{estimate.unit.key}_optimal_variance"
    result[key], result[key + "_se"] = optimal_variance_bound(estimate)
    return result


def table(result: dict[str, Any], lab: Laboratory) -> str:
    """The printed table, for people."""
    text = bound_table(result, result["floors"], lab.diffusion.decoder.unit)
    for mode in ("clipped", "unclipped"):
        if mode in result:
            unit = lab.diffusion.decoder.unit
            other = result[mode]
            text += f"\nwith x0_hat {mode}: {other[unit.key]:.4f} ± {other[unit.key + '_se']:.4f} {unit.label}"
    return text


def finite(value: Any) -> Any:
    """Strict JSON has no NaN: a figure that is not defined (a standard error of one example) becomes null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
