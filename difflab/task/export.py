"""A checkpoint as a directory of its own, that outlives its run and works anywhere: difflab.load(DIR), task=evaluate run=DIR."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..assemble import Laboratory, assemble
from ..config.inherit import MACHINE, portable
from ..config.schema import load_schema
from ..data._deferred import facts
from ..errors import ConfigError
from ..export import archive
from ..export.card import Card, Drawn
from ..export.counterpart import counterpart
from ..export.measured import recorded
from ..train import checkpoint
from .evaluate import stem, table

FOLDER = "export"  # of a run
STATE = {"ema": "ema", "raw": "model"}  # what a checkpoint calls them


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=export run=RUN_DIR_OR_CHECKPOINT [task.dir=DIR]: see export/archive.py."""
    task, source = config["task"], checkpoint.latest(Path(config["run"]))
    state = checkpoint.load(source)
    _check(task, state, source)
    lab = assemble(config, state.get("facts"))
    diffusion, step = lab.holding(state, source, STATE[task["weights"]])
    result = recorded(source, step, str(config["decoder"]["name"])) if task["weights"] == "ema" else {}
    scheduler, why = counterpart(diffusion, config)
    drawn = _drawn(source, step, result) if task["weights"] == "ema" else None
    places = [config["data"].get(key.partition(".")[2]) for key in MACHINE]
    known = facts(lab.data, [place for place in places if isinstance(place, str) and place])
    shown = table(result, lab) if result else None
    card = Card(lab, known, step, task["weights"], task["license"], result, shown, drawn, scheduler, why)
    files = {
        archive.WEIGHTS: _weights(lab),
        archive.RECORD: _json(_record(lab, config, step, known, result)),
        archive.CARD: card.text().encode(),
        **({archive.SCHEDULER: _json(scheduler)} if scheduler else {}),
        **({drawn.name: drawn.content} if drawn else {}),
    }
    directory = archive.save(_place(task, source, step), files)
    print(_said(directory, why), flush=True)
    return {"export": str(directory), "step": step}


def _check(task: dict[str, Any], state: dict[str, Any], source: Path) -> None:
    """ConfigError for weights that are not there."""
    if task["weights"] not in STATE:
        raise ConfigError(f"task.weights={task['weights']} is not one of {', '.join(STATE)}.")
    if STATE[task["weights"]] not in state:
        raise ConfigError(
            f"task.weights={task['weights']}: {source} is an export and holds one set of weights; leave it out."
        )
    if archive.is_export(source) and not task["dir"]:
        raise ConfigError(f"task.dir=null: {source} is an export itself; say where another one is to be written.")


def _place(task: dict[str, Any], source: Path, step: int) -> Path:
    raw = "" if task["weights"] == "ema" else f"-{task['weights']}"
    return Path(task["dir"]).expanduser() if task["dir"] else checkpoint.run_of(source) / FOLDER / f"{stem(step)}{raw}"


def _weights(lab: Laboratory) -> bytes:
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in lab.model.state_dict().items()}
    return save(state, metadata={"format": "pt"})


def _record(
    lab: Laboratory, config: dict[str, Any], step: int, known: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    own = portable(config, load_schema())
    return {
        "format": archive.FORMAT,
        "version": _version(),
        "step": step,
        "weights": config["task"]["weights"],
        "config": own,
        "choices": {group: option for group, option in config.get("choices", {}).items() if group in own},
        "facts": known,
        "parameters": sum(p.numel() for p in lab.model.parameters()),
        "result": result,
    }


def _drawn(source: Path, step: int, result: dict[str, Any]) -> Drawn | None:
    """What the run, or the export, shows of these weights: the final samples, else the previews of this step."""
    home = checkpoint.run_of(source)
    names = (
        ["samples"] if archive.is_export(source) else ["samples/final"] if result.get("objective") is not None else []
    )
    for name in [*names, f"samples/{stem(step)}"]:
        for suffix in (".png", ".txt"):
            path = home / f"{name}{suffix}"
            if path.is_file():
                return Drawn(f"samples{suffix}", path.read_bytes())
    return None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _version() -> str:
    try:
        return version("difflab")
    except PackageNotFoundError:
        return "unknown"


def _said(directory: Path, why: list[str]) -> str:
    reasons = "\n".join(f"no scheduler for diffusers: {sentence}" for sentence in why)
    return "\n".join(
        filter(None, (f"export {directory}", reasons, f'use it: import difflab; run = difflab.load("{directory}")'))
    )
