"""Where each run's bound comes from: its own measurement, another one that fits, or one that has to be made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..files import UNREADABLE
from ..train import checkpoint
from .comparable import FP32, check_comparable, facts
from .measurement import Measurement, read, read_own

# what a measurement is, and what the user calls it: the other keys of bound say how long it may take
KEYS = ("method", "examples", "draws", "times", "exact_steps", "last_steps", "clip_x0", "seed")
DESIGN = {key: f"bound.{key}" for key in KEYS} | {"precision": "precision.evaluate"}
ADDED = {"last_steps": 0}  # what a measurement without these keys did, which is older than they are

Evaluate = Callable[[Path, Mapping[str, Any]], tuple[Path, Mapping[str, Any]]]  # (run, design) -> (stem, result)


@dataclass(frozen=True)
class Sources:
    """The measurements to compare, {run: why} of those that have none, and what a reader must know of the others."""

    measured: list[Measurement]
    failed: dict[str, str]
    notes: list[str] = field(default_factory=list)


def as_they_are(names: Sequence[tuple[Path, str]]) -> Sources:
    """Each run's own measurement, nothing evaluated: what a sweep leaves."""
    measured, failed = [], {}
    for directory, name in names:
        if (directory / "result.json").exists():
            measured.append(read_own(directory, name))
        else:
            failed[name] = unfinished(directory)
    check_comparable([(m.directory, facts(m.result, configuration(m.directory))) for m in measured])
    return Sources(measured, failed)


def measured_alike(
    names: Sequence[tuple[Path, str]],
    default: Mapping[str, Any],
    evaluate: Evaluate,
    say: Callable[[str], None],
    typed: Collection[str] = (),
) -> Sources:
    """Every run measured as most of them were, evaluated where that is missing. `default`: the design (a bound node and its
    `precision`) that holds if none was measured, or, for the groups the user has `typed`, whatever they were measured with.

    `evaluate` measures a run's checkpoint; `say` tells the user before it does. A run without a checkpoint, or whose
    evaluation is refused, is listed as failed.
    """
    own: dict[Path, Measurement] = {}
    why: dict[Path, str] = {}
    for directory, name in names:
        if not (directory / "result.json").exists():
            why[directory] = unfinished(directory)
            continue
        try:
            own[directory] = read_own(directory, name)
        except ConfigError as error:
            if not isinstance(error.__cause__, OSError):  # files that are there and contradict each other
                raise
            why[directory] = "its per-example terms are missing"
    known = [(d, facts(own[d].result if d in own else {}, configuration(d))) for d, _ in names]
    check_comparable(known, ignore=("clip_x0", "precision"))  # before anything is evaluated; those are made alike
    made = [design(m.result, m.directory) for m in own.values()]
    as_most = usual(made) or dict(default)
    wanted = dict(default) if "bound" in typed else as_most
    wanted = wanted | {"precision": (default if "precision" in typed else as_most)["precision"]}
    for directory, measurement in own.items():
        difference = differs(design(measurement.result, directory), wanted)
        if difference:
            why[directory] = difference
    measured, failed, notes = [], {}, []
    for directory, name in names:
        if directory not in why:
            measured.append(own[directory])
            continue
        try:
            found = fitting(directory, wanted, own.get(directory))
            if found is None:
                checkpoint.latest(directory)  # refuses where there is none
                say(f"{name}: {why[directory]}, so it is evaluated with {described(wanted)}")
                found = evaluate(directory, wanted)
            stem, result = found
            measured.append(read(directory, stem, trained(directory) | dict(result), name))
            notes.append(f"{name}: {why[directory]}; bound/{stem.name}.json stands here")
        except ConfigError as error:
            failed[name] = f"{why[directory]}, and {error}"
    check_comparable([(m.directory, facts(m.result, configuration(m.directory))) for m in measured])
    return Sources(measured, failed, notes)


def unfinished(directory: Path) -> str:
    """Why a run has no result: what its job said, if it failed and did not just end."""
    try:
        message = json.loads((directory / "failed.json").read_bytes())["message"]
    except UNREADABLE:
        return "it has no result"
    return f"it has no result: {str(message).strip().rstrip('.')}"


def trained(directory: Path) -> dict[str, Any]:
    """What a result says of the training rather than of the bound: a run measured again keeps it."""
    try:
        result = json.loads((directory / "result.json").read_bytes())
    except UNREADABLE:
        result = {}
    return {"seed": configuration(directory).get("seed"), "train_seconds": None} | {
        key: result[key] for key in ("seed", "train_seconds") if key in result
    }


def configuration(directory: Path) -> dict[str, Any]:
    """A run's saved configuration, as it stands in its file; empty if there is none that can be read."""
    try:
        config = yaml.safe_load((directory / ".hydra" / "config.yaml").read_bytes())
    except UNREADABLE:
        return {}
    return config if isinstance(config, dict) else {}


def design(result: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """How a result was measured: its own record or, where it is older than that, the run's configuration (and float32)."""
    bound = result.get("bound") or configuration(directory).get("bound")
    return {**_completed(bound), "precision": result.get("precision", FP32)} if isinstance(bound, Mapping) else {}


def _completed(bound: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in ADDED.items() if "exact_steps" in bound}, **bound}


def usual(designs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The most frequent of them, the first of several; None where none is known."""
    known = [dict(d) for d in designs if d]
    count = Counter(_key(d) for d in known)
    return max(known, key=lambda d: count[_key(d)], default=None)


def differs(design: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """In what a measurement is not the wanted one, in words; None if it will do (more examples do, too)."""
    for key in DESIGN:
        have, want = design.get(key), wanted.get(key)
        enough = key == "examples" and (have is None or (want is not None and int(have) >= int(want)))
        if design and have != want and not enough:
            return f"it was measured with {DESIGN[key]}={word(have)} and not {word(want)}"
    return None


def fitting(
    directory: Path, wanted: Mapping[str, Any], own: Measurement | None
) -> tuple[Path, Mapping[str, Any]] | None:
    """(stem, result) of a measurement by task=evaluate of the same weights that is the wanted one."""
    if own:
        step = int(own.result["step"])
    else:
        newest = checkpoint.newest_first(directory)
        if not newest:
            return None
        step = int(newest[0].name.removeprefix("step_"))
    for path in sorted((directory / "bound").glob(f"step_{step:08d}-*.json")):
        try:
            result = json.loads(path.read_bytes())
            fits = result["bound"] and result["unit"] and not differs(design(result, directory), wanted)
        except UNREADABLE:
            continue  # another kind of file
        stem = path.with_suffix("")
        if fits and stem.with_suffix(".npz").exists():
            return stem, result
    return None


def described(design: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={word(design[key])}" for key, name in DESIGN.items() if key in design)


def _key(design: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(design.get(key) for key in DESIGN)


def word(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
