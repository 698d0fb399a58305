"""Run directories -> the plain dictionary that the page shows. A file that is missing or damaged becomes a sentence."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .. import tables
from ..bound.ledger import Ledger
from ..compare.paired import Differences
from ..compare.student import ALPHA, against_the_best
from ..dashboard.sections import sections
from ..errors import ConfigError
from ..gaussian import BITS, NATS
from ..quality.record import MANIFOLD, records
from . import curves, insight, mapping
from .detail import Detail
from .factors import factors, levels
from .numbers import spread
from .reader import Reader

PICTURES = 5  # of samples through training, for each run
ENVIRONMENT = 16  # first lines of environment.txt: versions, device, command, commit


@dataclass(frozen=True)
class Measurement:
    """One evaluation of a run: `bound/STEM.*` and its totals."""

    stem: str
    result: dict[str, Any]


def collect(directories: list[Path], names: Mapping[Path, str]) -> dict[str, Any]:
    """Everything a page says of these runs, best first. ConfigError if their units differ."""
    detail = Detail.of(len(directories))
    found = [_run(directory, names[directory], detail) for directory in directories]
    units = {run["unit"]: run["directory"] for run, _ in found if run["unit"]}
    if len(units) > 1:
        a, b = list(units)[:2]
        raise ConfigError(
            f"runs: {units[a]} is measured in {a} and {units[b]} in {b}, which have no common axis; make a report of each."
        )
    key = next(iter(units), BITS.key)

    def bound(pair: tuple[dict[str, Any], Any]) -> float:
        value = (pair[0]["result"] or {}).get(key)
        return math.inf if value is None else value

    found.sort(key=bound)
    if found:
        best, totals = found[0]
        for run, own in found:
            run["difference"] = _difference(run, own, best, totals, key)
    paired = [run["difference"] for run, _ in found if "p" in (run["difference"] or {})]
    for difference, p in zip(paired, against_the_best([difference["p"] for difference in paired])):
        difference["significant"] = p < ALPHA
    unit = BITS if key == BITS.key else NATS
    runs = [run for run, _ in found]
    differing = factors([run["config"] for run in runs], [run["result"] or {} for run in runs])
    return {
        "unit": {"key": key, "label": unit.label},
        "sections": [{"name": section.name, "about": section.about} for section in sections(key)],
        "factors": [{"name": name, "levels": levels(values)} for name, values in differing.items()],
        "shared": _shared(runs),
        "runs": [run | {"factors": {n: own[i] for n, own in differing.items()}} for i, run in enumerate(runs)],
    }


def _shared(runs: list[dict[str, Any]]) -> dict[str, str]:
    """The configuration that all runs have, which is taken out of each."""
    configs = [run["config"] for run in runs]
    shared = dict(set.intersection(*(set(config.items()) for config in configs))) if configs else {}
    for run in runs:
        run["config"] = {key: value for key, value in run["config"].items() if key not in shared}
    return shared


def _run(directory: Path, name: str, detail: Detail) -> tuple[dict[str, Any], dict[int, float]]:
    """(one run for the page, its per-example totals in nats per dimension by example id)."""
    reader = Reader(directory)
    measured = _measurements(reader)
    main = measured[0] if measured else None
    run: dict[str, Any] = {
        "name": name,
        "directory": str(directory),
        "unit": main.result["unit"] if main else None,
        "result": main.result if main else None,
        "measurement": main.stem if main else None,
        # the first one's totals are those above
        "measurements": [{"stem": m.stem, "result": m.result if m is not main else None} for m in measured],
        "notes": reader.notes,
    }
    totals: dict[int, float] = {}
    ledger = None
    if main:
        curve, totals, ledger = _bound(reader, main, detail.points)
        run |= curve
        for kind, shape in insight.TABLES.items():
            run[kind] = _insight(reader, measured, kind, shape, main.result["unit"], detail)
    else:
        reader.notes.append(f"no measurement of the bound; task=evaluate run={directory} makes one from a checkpoint.")
    run["mapping"] = mapping.mapping(reader, ledger, detail.strip_bytes, few=not detail.few)
    run["heat"] = curves.heat(reader, detail.validations)
    run["training"] = curves.training(reader, detail.logged)
    run["quality"] = _quality(directory)
    run["samples"] = _samples(reader, detail)
    run["config"] = reader.read(".hydra/config.yaml", lambda path: _flat(yaml.safe_load(path.read_text()))) or {}
    run["overrides"] = reader.read(".hydra/overrides.yaml", _overrides) or []
    run["environment"] = reader.read("environment.txt", _environment) or ""
    return run, totals


def _bound(reader: Reader, main: Measurement, points: int) -> tuple[dict[str, Any], dict[int, float], Ledger | None]:
    """(the curves over t of a measurement, its per-example totals, its ledger), as far as its files can be read."""
    ledger_file, terms_file = f"bound/{main.stem}.csv", f"bound/{main.stem}.npz"

    def both(path: Path) -> tuple[Ledger, dict[str, Any]]:
        ledger = Ledger.load(path, main.result)
        curve, running = curves.curve(ledger, points), curves.running(ledger, None)
        return ledger, {"curve": curve, "running": running, "graph": mapping.graph(ledger, None)}

    found = reader.read(ledger_file, both)
    totals = reader.read(terms_file, _totals) or {}
    if found is None:
        if not (reader.directory / ledger_file).exists():
            reader.notes.append(f"{ledger_file} is missing; task=evaluate run={reader.directory} measures again.")
        return {}, totals, None
    ledger, drawn = found

    def exact(path: Path) -> dict[str, Any]:
        terms = _arrays(path)
        return {"running": curves.running(ledger, terms), "graph": mapping.graph(ledger, terms)}

    if totals:
        drawn |= reader.read(terms_file, exact) or {}
    return drawn, totals, ledger


# -- measurements ---------------------------------------------------------------------------------------------------


def _measurements(reader: Reader) -> list[Measurement]:
    """The run's own, then those of task=evaluate, newest checkpoint first."""
    own = reader.read("result.json", _result)
    found = [Measurement(f"step_{own['step']:08d}", own)] if own else []
    paths = sorted((reader.directory / "bound").glob("step_*.json"))
    others = [(path.stem, reader.read(f"bound/{path.name}", _result)) for path in paths]
    later = [Measurement(stem, result) for stem, result in others if result]
    return found + sorted(later, key=lambda m: -m.result["step"])


def _result(path: Path) -> dict[str, Any] | None:
    """A measurement's totals; None for another record. `files` is where they were written, which may be elsewhere."""
    result = json.loads(path.read_text(encoding="utf-8"))
    if "unit" not in result:
        return None
    if not math.isfinite(float(result[result["unit"]])):
        raise ValueError(f"{result['unit']} is not finite")
    int(result["step"])
    return {name: value for name, value in result.items() if name not in ("files", "checkpoint")}


def _insight(
    reader: Reader, measured: list[Measurement], kind: str, shape: Callable[..., Any], unit: str, detail: Detail
) -> Any:
    """The table of the first measurement that has it, with that measurement's name."""
    for measurement in measured:
        name = f"bound/{measurement.stem}-{kind}.csv"
        found = reader.read(name, lambda path: shape(tables.load(path), unit, detail))
        if found is not None:
            return found | {"measurement": measurement.stem}
    return None


def _totals(path: Path) -> dict[int, float]:
    """Each example's bound, nats per dimension, by its id."""
    terms = _arrays(path)
    return dict(zip(terms["index"].tolist(), (terms["total"] / int(terms["dims"])).tolist(), strict=True))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def _difference(
    run: dict[str, Any], own: dict[int, float], best: dict[str, Any], totals: dict[int, float], key: str
) -> dict[str, Any] | None:
    """The run minus the best one over their common examples with its 95% interval, or why it cannot be said."""
    if run is best or run["result"] is None or best["result"] is None:
        return None
    for name, why in (
        ("split_sha256", "measured on other data"), ("condition", "one of the two is given the label: another quantity"), ("clip_x0", "measured with another clip_x0"), ("bound_seed", "measured on other noise"),
    ):  # fmt: skip
        if run["result"].get(name) != best["result"].get(name):
            return {"why": why}
    common = sorted(own.keys() & totals.keys())
    if len(common) < 2:
        return {"why": "no common examples"}
    values = np.array([own[i] - totals[i] for i in common]) / (BITS if key == BITS.key else NATS).nats
    error = values.std(ddof=1) / math.sqrt(len(values))
    difference = Differences(np.array([values.mean()]), np.array([error]), len(values))
    numbers = {
        "mean": difference.mean,
        "se": difference.se,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p,
    }
    return {name: float(value[0]) for name, value in numbers.items()} | {"examples": len(common)}


# -- pictures and configuration -------------------------------------------------------------------------------------


def _quality(directory: Path) -> list[dict[str, Any]]:
    """What task=quality found, as far as the page shows it."""
    shown = []
    for record in records(directory):
        key = record["key"]
        names = [key, f"{key}_se", f"{key}_corrected", *MANIFOLD, *(f"{name}_se" for name in MANIFOLD), "examples"]
        one: dict[str, Any] = {name: record[name] for name in (*names, "key", "sampler", "steps", "step")}
        one["held_out"] = {name: record["held_out"][name] for name in names}
        one["features_label"] = f"{record['features']} {record['features_sha256'][:8]}"
        shown.append(one)
    return shown


def _samples(reader: Reader, detail: Detail) -> list[dict[str, Any]]:
    """The final samples, then those through training: pictures as data URIs, text as it is; what does not fit is named in a
    note."""
    folder, budget = reader.directory / "samples", detail.picture_bytes
    kinds = ("png", "txt")
    through = [
        p for kind in kinds for p in sorted(folder.glob(f"step_*.{kind}")) if p.stem.rpartition("_")[2].isdigit()
    ]
    shown, left = [], 0
    for path in [*(p for kind in kinds for p in folder.glob(f"final.{kind}")), *spread(through, PICTURES)]:
        data = reader.read(f"samples/{path.name}", Path.read_bytes if detail.few else _smaller)
        content = None if data is None else _shown(path, data)
        if data is None or content is None:
            continue
        if len(data) > budget:
            left += 1
            continue
        budget -= len(data)
        step = None if path.stem == "final" else int(path.stem.rpartition("_")[2])
        shown.append({"step": step, **content})
    if left:
        what = "1 picture is" if left == 1 else f"{left} pictures are"
        reader.notes.append(f"{what} left out to keep this page small; see {folder}.")
    return shown


def _smaller(path: Path) -> bytes:
    """A picture's file without what its page does not need: colours that are grey, an alpha that is full, pixels that are
    repeated k x k (the page draws them larger, unsmoothed). Another file as it is."""
    data = path.read_bytes()
    if path.suffix != ".png":
        return data
    from PIL import Image  # matplotlib's

    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGBA"))
    if (pixels[..., 3] == 255).all():
        pixels = pixels[..., :3]
        if (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0]
    for k in range(8, 1, -1):
        small = pixels[::k, ::k]
        if small.shape[0] * k == len(pixels) and np.array_equal(
            small.repeat(k, 0).repeat(k, 1)[:, : pixels.shape[1]], pixels
        ):
            pixels = small
            break
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return min(data, file.getvalue(), key=len)


def _shown(path: Path, data: bytes) -> dict[str, str] | None:
    """What the page shows of a file of samples; None for what it cannot."""
    if path.suffix == ".txt":
        return {"text": data.decode("utf-8", "replace")}
    if data.startswith(b"\x89PNG"):
        return {"src": "data:image/png;base64," + base64.b64encode(data).decode()}
    return None


def _flat(config: Any, prefix: str = "") -> dict[str, str]:
    """Nested keys as dotted ones, values as text."""
    if not isinstance(config, Mapping):
        raise ValueError("it holds no mapping")
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = (
                "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            )
    return flat


def _overrides(path: Path) -> list[str]:
    return [str(line) for line in yaml.safe_load(path.read_text()) or []]


def _environment(path: Path) -> str:
    """Up to the commit: the diff of a dirty tree after it is long."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[:ENVIRONMENT]
    end = next((i + 1 for i, line in enumerate(lines) if line.startswith("git ")), len(lines))
    return "\n".join(lines[:end])
