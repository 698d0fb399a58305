"""The bound of a checkpoint's EMA weights on held-out data: ledger, per-example terms, what follows, one printed table."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import ranks
from ..allocator import keep_large_blocks
from ..assemble import Laboratory, assemble
from ..bound.estimate import Estimate
from ..bound.estimator import Extras, evaluate_modes
from ..config.inherit import load_run
from ..console import alone_line, bound_table, effort_lines, gain_line, nats_line, variance_lines, with_error
from ..data.base import Split
from ..diffusion import Diffusion
from ..errors import ConfigError
from ..files import write_json
from ..train import checkpoint
from ..train.signals import Stop
from . import figures
from .estimate import forecast_evaluation
from .measure import Measurement, OnBatch, informed, mode_name, modes


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=evaluate run=RUN_DIR_OR_CHECKPOINT [bound...]: written into that run's bound/; `files`: the stem of it."""
    lab, diffusion, step, source = opened(config)
    home = checkpoint.run_of(source) if ranks.current().first else run_dir
    # beside the run's own measurement, which result.json and comparisons rest on, not over it
    path = home / "bound" / f"{stem(step)}-{design_name(config, lab.precision['evaluate'], _decoder_of(source))}"
    say(forecast_evaluation(lab))
    with Stop() as stop:
        measurement = Measurement(lab, diffusion, lab.data.test, lab.bound, path, step, stop)
        try:
            result = measurement.run()
        except SystemExit:
            if measurement.store is not None:
                say(f"stopped; what was evaluated is kept in {path.parent}, and the same command goes on from there")
            raise
    result |= {"step": step, "checkpoint": str(source)}
    write_json(path.with_name(path.name + ".json"), finite(result))
    measurement.forget_rows()
    drawn = figures.draw_all(path, result, home / "figures" / path.name, title=home.name)
    print(table(result, lab), flush=True)
    print(f"figures {drawn['bound/figure'].parent}\nfiles   {path}*", flush=True)
    return result | {"files": str(path)}


def opened(config: dict[str, Any]) -> tuple[Laboratory, Diffusion, int, Path]:
    """What `run=` names: its parts, the diffusion with the EMA weights, their step, the checkpoint they come from."""
    keep_large_blocks()
    source = checkpoint.latest(Path(config["run"]))
    state = checkpoint.load(source)
    lab = assemble(config, state.get("facts"))
    return lab, *lab.holding(state, source), source


def design_name(config: Mapping[str, Any], precision: str, own_decoder: Mapping[str, Any] | None = None) -> str:
    """The chosen design and four digits of all its values: measurements by other designs, in another precision or with
    another decoder than the run's own lie beside each other."""
    bound = {key: value for key, value in config["bound"].items() if key != "batch_size"}
    if precision != "fp32":
        bound["precision"] = precision
    if config["decoder"] != (own_decoder or config["decoder"]):
        bound["decoder"] = config["decoder"]
    digest = hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()
    return f"{config.get('choices', {}).get('bound') or bound['method']}-{digest[:4]}"


def _decoder_of(source: Path) -> Mapping[str, Any] | None:
    """The decoder that a checkpoint's run was trained with, if the run's directory still says so."""
    try:
        return load_run(checkpoint.run_of(source)).config["decoder"]
    except (ConfigError, KeyError):
        return None


def stem(step: int) -> str:
    return f"step_{step:08d}"


def validate(lab: Laboratory, diffusion: Diffusion, split: Split, on_batch: OnBatch) -> Estimate:
    """The bound with the validation design, in its own clip mode."""
    diffusion = lab.computing(diffusion, "evaluate")
    own = modes(diffusion, lab.validation)[0]
    design, _ = informed(lab, diffusion, lab.validation, split, on_batch)
    return evaluate_modes(diffusion, lab.examples(split), design, lab.device, {own: Extras()}, on_batch)[0]


def table(result: Mapping[str, Any], lab: Laboratory) -> str:
    """The printed table, for people."""
    unit = lab.diffusion.unit
    text = bound_table(result, result["floors"], unit)
    if lab.diffusion.schedule.continuous:
        pieces = lab.diffusion.schedule.T - 1
        text += f"\nT = inf: sum L_t-1 is 1/2 int |eps - eps_hat|^2 d(log SNR), a level drawn in each of {pieces:,} pieces; no reverse variance enters"
    if variances := result.get("variances"):
        text += "\n" + variance_lines(variances, unit)
    if (alone := result.get(f"{unit.key}_without_chain")) is not None:
        text += "\n" + alone_line(alone, result, unit)
    if gain := result.get("information_gain"):
        text += "\n" + gain_line(gain)
    if lab.data.example:
        text += "\n" + nats_line(result, unit, lab.data.dims, lab.data.example)
    for mode in (mode_name(True), mode_name(False)):
        if mode in result:
            other = result[mode]
            text += f"\nwith x0_hat {mode}: {with_error(other, unit)} {unit.label}"
    if (shift := result.get(f"{unit.key}_precision_shift")) is not None:
        se = result[f"{unit.key}_precision_shift_se"]
        text += f"\ncomputed in {result['precision']}, which moves the bound by {shift:+.5f} ± {se:.5f} {unit.label}"
    parts = (
        ("precision", "in fp32 beside those in bf16"),
        ("pilot", "for the pilot"),
        ("fit", "on training examples"),
        ("verify", "of short chains"),
    )
    besides = [f"{result[f'nfe_{key}']:,} {what}" for key, what in parts if result.get(f"nfe_{key}")]
    also = f"besides, network evaluations {', '.join(besides)}" if besides else None
    return "\n".join(filter(None, (text, effort_lines(result, unit), also, result.get("target"))))


def finite(value: Any) -> Any:
    """Strict JSON has no NaN: a figure that is not defined (a standard error of one example) becomes null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
