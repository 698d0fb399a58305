"""Many runs side by side: every part of the bound, and paired differences on common examples and common noise."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..files import write_atomically
from ..gaussian import BITS, NATS

PARTS = ("prior_kl", "transition_kl", "decoder_nll")


@dataclass(frozen=True)
class Run:
    """A finished run: its result and the per-example totals of its bound (nats), by example id."""

    name: str
    directory: Path
    result: dict[str, Any]
    totals: dict[int, float]
    dims: int

    @property
    def key(self) -> str:
        return self.result["unit"]

    @property
    def scale(self) -> float:
        """nats per example -> the unit."""
        return 1 / (self.dims * (BITS if self.key == BITS.key else NATS).nats)

    def value(self, name: str) -> float:
        value = self.result.get(name)
        return math.nan if value is None else float(value)


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=compare runs=[A,B,...] or runs=MULTIRUN_DIR: written into this job's directory."""
    given = config["runs"]
    paths = [Path(given)] if isinstance(given, str) else [Path(p) for p in given or []]
    if not paths:
        raise ConfigError("runs=null: task=compare needs runs=[RUN_DIR,RUN_DIR,...] or runs=MULTIRUN_DIR.")
    directories: list[Path] = []
    for path in paths:
        found = [path] if (path / ".hydra").is_dir() else job_directories(path)
        if not found:
            raise ConfigError(f"runs: {path} holds no run; give run directories or a multirun directory.")
        directories += found
    text = compare(directories, run_dir)
    print(text, flush=True)
    return {"comparison": str(run_dir / "comparison.md")}


def write(multirun_dir: Path, not_defined: dict[str, str] | None = None) -> str:
    """The comparison of a sweep, whatever became of its jobs; `not_defined`: grid cells that were skipped, with why."""
    return compare(job_directories(multirun_dir), multirun_dir, not_defined or {})


def job_directories(multirun_dir: Path) -> list[Path]:
    """The jobs of a sweep in their order."""
    jobs = (
        [d for d in multirun_dir.iterdir() if d.is_dir() and (d / ".hydra").is_dir()] if multirun_dir.is_dir() else []
    )
    return sorted(jobs, key=lambda d: (0, int(d.name), "") if d.name.isdigit() else (1, 0, d.name))


def compare(directories: list[Path], out: Path, not_defined: dict[str, str] | None = None) -> str:
    """Write comparison.md and comparison.csv into `out`; returns the text. ConfigError if nothing can be compared."""
    finished, failed = [], []
    names = labels(directories)
    for directory in directories:
        (finished if (directory / "result.json").exists() else failed).append(directory)
    runs = sorted((load(d, names[d]) for d in finished), key=lambda r: r.value(r.key))
    check_comparable(runs)
    rows = [row(r, runs[0]) for r in runs]
    text = markdown(rows, runs, [names[d] for d in failed], not_defined or {})
    write_atomically(out / "comparison.md", lambda file: file.write(text + "\n"))
    if rows:

        def save(file: Any) -> None:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

        write_atomically(out / "comparison.csv", save)
    return text


def labels(directories: list[Path]) -> dict[Path, str]:
    """What distinguishes each run: the overrides that not all of them share (or the directory's name)."""
    overrides = {}
    for directory in directories:
        path = directory / ".hydra" / "overrides.yaml"
        lines = path.read_text().splitlines() if path.exists() else []
        overrides[directory] = [line[2:].strip("'\"") for line in lines if line.startswith("- ")]
    shared = set.intersection(*(set(o) for o in overrides.values())) if overrides else set()
    named = {d: " ".join(x for x in own if x not in shared) or d.name for d, own in overrides.items()}
    unique = len(set(named.values())) == len(named)
    return named if unique else {d: f"{name} ({d.name})" for d, name in named.items()}


def load(directory: Path, name: str) -> Run:
    """A finished run; ConfigError if its files cannot be read."""
    try:
        result = json.loads((directory / "result.json").read_text())
        with np.load(directory / "bound" / f"step_{result['step']:08d}.npz") as terms:
            totals = dict(zip(terms["index"].tolist(), terms["total"].tolist(), strict=True))
            dims = int(terms["dims"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{directory} cannot be compared ({error}); make it whole with resume={directory}."
        ) from error
    run = Run(name, directory, result, totals, dims)
    mean = float(np.mean(list(totals.values()))) * run.scale
    if not math.isclose(mean, run.value(run.key), rel_tol=1e-5, abs_tol=1e-6):
        raise ConfigError(
            f"{directory}: its terms add up to {mean:.6g} and result.json says {run.value(run.key):.6g}; the run's files were "
            f"changed, make them whole with resume={directory}."
        )
    return run


def check_comparable(runs: list[Run]) -> None:
    """ConfigError if two runs were not measured on the same data, unit and noise."""
    for other in runs[1:]:
        for key, meaning in (
            ("unit", "the unit of the bound"), ("split_sha256", "the test data"), ("clip_x0", "bound.clip_x0"), ("bound_seed", "bound.seed"),
        ):  # fmt: skip
            if other.result[key] != runs[0].result[key]:
                raise ConfigError(
                    f"runs {runs[0].directory} and {other.directory} are not comparable: they differ in {meaning} "
                    f"({runs[0].result[key]} and {other.result[key]}); compare runs of one data set, evaluated alike."
                )


def paired(a: Run, b: Run) -> tuple[float, float, int]:
    """(mean of a - b, its standard error, common examples), in the unit per dimension, over examples both evaluated."""
    common = sorted(a.totals.keys() & b.totals.keys())
    difference = np.array([a.totals[i] - b.totals[i] for i in common]) * a.scale
    n = len(difference)
    return (
        float(difference.mean()) if n else math.nan,
        float(difference.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
        n,
    )


def row(run: Run, best: Run) -> dict[str, Any]:
    difference, se, common = paired(run, best)
    values: dict[str, Any] = {"run": run.name}
    for name in (run.key, *PARTS, "mean_error", "variance_mismatch", f"{run.key}_optimal_variance"):
        values[name], values[f"{name}_se"] = run.value(name), run.value(f"{name}_se")
    return values | {
        "difference": difference,
        "difference_se": se,
        "significant": abs(difference) > 1.96 * se,
        "common_examples": common,
        "seed": run.result["seed"],
        "train_seconds": run.value("train_seconds"),
        "directory": str(run.directory),
    }


def markdown(rows: list[dict[str, Any]], runs: list[Run], failed: list[str], not_defined: dict[str, str]) -> str:
    """The table for people: best first, each difference to the best paired."""
    lines = []
    if rows:
        key = runs[0].key
        unit = (BITS if key == BITS.key else NATS).label
        lines += [
            f"{len(rows)} runs on {runs[0].result['examples']} examples of the {runs[0].result['split']} split, {unit}; ± is one standard "
            "error; the difference to the best run is paired (same examples, same noise), * where it exceeds 1.96 standard errors.",
            "",
            f"| run | {unit} | L_T | sum L_(t-1) | L_0 | optimal variance | difference to best |",
            "|---|---|---|---|---|---|---|",
        ]
        for i, r in enumerate(rows):
            cells = [f"{r[n]:.4f} ± {r[n + '_se']:.4f}" for n in (key, *PARTS, f"{key}_optimal_variance")]
            cells[1] = f"{r['prior_kl']:.2g}"
            gap = (
                "best"
                if i == 0
                else f"{r['difference']:+.4f} ± {r['difference_se']:.4f}{'*' if r['significant'] else ''}"
            )
            lines.append(f"| {r['run']} | " + " | ".join(cells) + f" | {gap} |")
    else:
        lines.append("No job finished, so there is nothing to compare.")
    lines += [f"\nfailed: {name}" for name in failed]
    lines += [f"\nnot defined: {name}: {why}" for name, why in not_defined.items()]
    return "\n".join(lines)
