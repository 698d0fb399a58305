"""Many runs side by side: every part of the bound, and paired differences on common examples and common noise."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import tables
from ..build import build
from ..card.blocks import Picture
from ..compare import quality, told, tracked, variances
from ..compare.comparable import FP32
from ..compare.effects import Effects, effect_table, effects, share_table
from ..compare.markdown import Section, page, sections
from ..compare.measurement import Measurement
from ..compare.names import directories, distinguishing, job_directories, labels
from ..compare.parts import chains
from ..compare.ranking import Entry, log_snr_table, rank, table, term_table
from ..compare.seeds import Group, groups
from ..compare.sources import Sources, as_they_are, configuration, measured_alike
from ..errors import ConfigError
from ..figure.comparison import forest, over_log_snr, over_t
from ..figure.effects import effects as draw_effects
from ..figure.quality import tradeoff
from ..files import write_atomically
from ..report import comparison as html
from ..tables import Columns
from ..tracker.base import Tracker

TABLES = {"table": "comparison", "effects_table": "comparison_effects", "shares_table": "comparison_shares"}
CAPTIONS = {
    "ranking": "Each run's difference to the best, with its 95% interval over examples.",
    "effects": "What moves which part of the bound, and by how much.",
    "log_snr": "How the differences to the best add up over log SNR, an axis that all chains share.",
    "per_t": "Where on the chain they lie; the runs whose T is the best run's.",
    "quality": "Bits against the samples' distance from held-out data.",
}

if TYPE_CHECKING:
    from ..config.schema import Option
    from ..sweep.table import Answered

__all__ = ["job_directories", "labels", "run", "write"]


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=compare runs=[A,B,...] or runs=MULTIRUN_DIR: written into this job's directory. What is missing is evaluated."""
    found = directories(config["runs"])
    names = labels(found)
    tracker: Tracker = build("tracker", config["tracker"])  # before anything is evaluated: its keys may be refused

    def evaluate(directory: Path, design: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]]:
        return _evaluate(directory, design, config, run_dir)

    default = {**config["bound"], "precision": _precision(config)}
    runs = [(d, names[d]) for d in found]
    sources = measured_alike(runs, default, evaluate, _say, typed=config.get("typed", ()))
    sweeps = _sweeps(config["runs"])
    not_defined = {name: why for sweep in sweeps for name, why in _skipped(sweep).items()}
    refused = {name: why for sweep in sweeps for name, why in _refused(sweep).items()}
    sources = replace(sources, failed=sources.failed | refused)
    written = _written(sources, found, run_dir, not_defined, [a for sweep in sweeps for a in _answered(sweep)])
    print(written.text, flush=True)
    _track(tracker, written, run_dir, tracked.group(found, sweeps[0] if len(sweeps) == 1 else None))
    return {"comparison": str(run_dir / "comparison.md")}


def _sweeps(given: str | Sequence[str]) -> list[Path]:
    """The multirun directories among those given."""
    return [
        Path(path) for path in ([given] if isinstance(given, str) else given) if not (Path(path) / ".hydra").is_dir()
    ]


def _skipped(sweep: Path) -> dict[str, str]:
    """The cells that are not defined."""
    from ..job import NOT_DEFINED, outcome

    return outcome(sweep, NOT_DEFINED)


def _refused(sweep: Path) -> dict[str, str]:
    """The jobs that failed before they had a record, so that no run directory tells of them."""
    from ..job import FAILED, outcome

    failed = outcome(sweep, FAILED)
    return {name: why for name, why in failed.items() if not (sweep / name.partition(":")[0] / ".hydra").is_dir()}


def _answered(sweep: Path) -> list[Answered]:
    """The tables of a sweep's question, where it has one."""
    from ..sweep import record
    from ..sweep.table import answered

    if not (sweep / record.FILE).is_file():
        return []
    try:
        found = answered(sweep)
    except ConfigError as error:  # the runs can be compared all the same
        print(f"the comparison is without the question's tables: {error}", file=sys.stderr)
        return []
    return [found] if found.tables else []


def write(multirun_dir: Path, not_defined: dict[str, str] | None = None, interrupted: bool = False) -> str:
    """The comparison of a sweep, whatever became of its jobs; nothing is evaluated for it.

    `not_defined`: grid cells that were skipped, with why. `interrupted`: the sweep goes on later, and whoever stopped it does
    not wait for a tracker. ConfigError if its runs are not comparable.
    """
    found = job_directories(multirun_dir)
    names = labels(found)
    sources = as_they_are([(d, names[d]) for d in found])
    sources = replace(sources, failed=sources.failed | _refused(multirun_dir))
    written = _written(sources, found, multirun_dir, not_defined or {}, _answered(multirun_dir))
    if not interrupted and (node := tracked.recorded(found)):
        try:
            tracker: Tracker = build("tracker", node)
        except ConfigError as error:  # recorded by another version
            print(f"the comparison is not in the tracker: {error}", file=sys.stderr)
        else:
            _track(tracker, written, multirun_dir, tracked.group(found, multirun_dir))
    return written.text


def _track(tracker: Tracker, written: Written, out: Path, group: str | None) -> None:
    """Show it in the tracker, if there is something to show."""
    if not written.ranked:
        return
    best, lost = written.ranked[0], {"failed": written.failed, "not_defined": written.not_defined}
    tracked.show(
        tracker,
        out,
        group,
        {"task": {"name": "compare"}, "runs": [str(run.directory) for run in written.ranked], "varied": written.varied},
        {f"comparison/{name}": written.tables[file] for name, file in TABLES.items()} | written.answers,
        {f"comparison/{name}": out / "figures" / f"comparison_{name}.png" for name in CAPTIONS},
        {"best": best.name, best.unit.key: best.bound, "runs": len(written.ranked), **lost},
    )


@dataclass(frozen=True)
class Written:
    """What a comparison has written, for the tracker."""

    text: str  # comparison.md
    ranked: list[Measurement]  # best first
    tables: dict[str, Columns]
    answers: dict[str, Columns]  # the tables of the questions, as the tracker names them
    varied: dict[str, list[str]]
    failed: int
    not_defined: int


def _written(
    sources: Sources, jobs: Sequence[Path], out: Path, not_defined: Mapping[str, str], answers: Sequence[Answered]
) -> Written:
    """comparison.md, comparison.html, the tables and the figures."""
    lost = [run for run in sources.measured if not math.isfinite(run.bound)]
    kept = [run for run in sources.measured if math.isfinite(run.bound)]
    sources = replace(sources, failed=sources.failed | {run.name: "its bound is not finite" for run in lost})
    entries, seeds = rank(kept), _seeds(kept)
    ranked = [entry.run for entry in entries]
    found = effects(seeds, jobs)
    other = Section("variances", "The same means with other variances", variances.blocks(ranked), headed=True)
    title, by_chain = "Which choice moves which term", chains(ranked)
    beside = quality.quality(kept)
    samples = Section("quality", "Bits against quality", quality.blocks(beside), headed=True)
    more = [Section("effects", title, told.blocks(found, ranked, by_chain), headed=True), other]
    more += [samples] if beside.points else []
    text = page(entries, sources, seeds, not_defined, more)
    write_atomically(out / "comparison.md", lambda file: file.write(text + "\n"))
    columns = {
        "comparison": table(entries), "comparison_terms": term_table(entries), "comparison_log_snr": log_snr_table(entries),
        "comparison_effects": effect_table(found), "comparison_shares": share_table(found),
        "comparison_variances": variances.variance_table(ranked), "comparison_quality": quality.quality_table(beside),
    }  # fmt: skip
    for name, values in columns.items():
        path = out / f"{name}.csv"
        tables.save(path, values) if values else path.unlink(missing_ok=True)  # an earlier comparison's here
    drawings = {"ranking": forest, "per_t": over_t, "log_snr": over_log_snr, "effects": _draw_effects(found)}
    drawings["quality"] = lambda entries, path: tradeoff(beside.points, path)
    for name, draw in drawings.items():
        path = out / "figures" / f"comparison_{name}.png"
        if draw(entries, path) is None:
            path.unlink(missing_ok=True)
    shown = html.Told(
        title=f"Comparison of {len(kept)} run{'s' * (len(kept) != 1)}",
        sections=[
            *_asked(answers),
            *sections(entries, seeds),
            Section("effects", title, told.lead(found, ranked)),
            other,
            samples,
        ],
        views=told.views(found, ranked, by_chain),
        failed=sources.failed,
        not_defined=not_defined,
        unit=kept[0].unit if kept else html.Told.unit,
        factors=found.factors if kept else (),
        levels=_levels(found, ranked, seeds),
        pictures=[Picture(f"figures/comparison_{name}.png", caption) for name, caption in CAPTIONS.items()],
        notes=sources.notes,
    )
    written = html.page(shown, out)
    write_atomically(out / "comparison.html", lambda file: file.write(written))
    varied = {factor.name: list(factor.levels) for factor in found.factors}
    of_answers = {f"comparison/{a.name}_{name}": columns for a in answers for name, columns in a.files.items()}
    return Written(text, ranked, columns, of_answers, varied, len(sources.failed), len(not_defined))


def _asked(answers: Sequence[Answered]) -> list[Section]:
    """The questions of the sweeps compared; Markdown has them in their own tables.md."""
    return [Section(f"answer-{i}", answer.question, answer.blocks) for i, answer in enumerate(answers, 1)]


def _draw_effects(found: Effects) -> Callable[[Sequence[Entry], Path], Path | None]:
    return lambda entries, path: draw_effects(found.views, path, entries[0].run.unit.label) if entries else None


def _levels(found: Effects, runs: Sequence[Measurement], seeds: Sequence[Group]) -> dict[str, Mapping[str, str]]:
    """What a row of a table that begins with a run or a configuration was varied to."""
    of_cells = {group.name: found.levels.get(group.members[0].directory, {}) for group in seeds}
    return of_cells | {run.name: found.levels.get(run.directory, {}) for run in runs}


def _seeds(runs: list[Measurement]) -> list[Group]:
    names = distinguishing([run.directory for run in runs], without=("seed",))
    return groups(runs, [configuration(run.directory) for run in runs], [names[run.directory] for run in runs])


def _precision(config: Mapping[str, Any]) -> str:
    """What precision.evaluate means here."""
    name = str(config["precision"]["evaluate"])
    if name == FP32:  # torch takes seconds, and most comparisons do without
        return name
    from ..assemble import choose_device
    from ..precision import resolve

    return resolve("precision.evaluate", name, choose_device(config["device"]))


def _evaluate(
    directory: Path, design: Mapping[str, Any], config: Mapping[str, Any], run_dir: Path
) -> tuple[Path, Mapping[str, Any]]:
    """Measure a run's newest checkpoint as task=evaluate does; (stem of the files, result)."""
    from . import evaluate

    result = evaluate.run(evaluation(directory, design, config), run_dir)
    return Path(result["files"]), result


def evaluation(directory: Path, design: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of task=evaluate run=DIRECTORY with the `design` (a bound node and its precision), on the device of
    `config`.

    The run's own values; groups and keys that its version did not have yet come from `config` and today's files. (A job
    cannot compose another configuration: Hydra is at work.)
    """
    from ..config.check import check
    from ..config.inherit import load_run
    from ..config.schema import load_schema

    schema, saved = load_schema(), load_run(directory)
    bound = {key: value for key, value in design.items() if key != "precision"}
    own = {**config, **saved.config, "bound": bound}
    for package in saved.config.keys() & schema.packages.keys():
        group = schema.packages[package]
        choice = saved.choices.get(group if group == package else f"{group}@{package}")
        own[package] = _completed(own[package], schema.options[group], schema.name_key(group), choice)
    own |= {
        "task": {"name": "evaluate", "reads": "run"}, "run": str(directory), "runs": None, "resume": None, "init": None,
        "device": config["device"], "plugins": config["plugins"],
    }  # fmt: skip
    own["chains"] = {**own["chains"], "verify": []}  # a comparison has no use for those
    own["precision"] = {**own["precision"], "evaluate": design["precision"]}
    extra = {"sweep": own.get("sweep")} | {key: own.pop(key, None) for key in ("choices", "typed")}
    own |= {"sweep": None, "job": None}  # of the command line, as a configuration has them
    choices = {group: option for group, option in saved.choices.items() if group in own}
    return (
        check(own, schema, tuple(config["plugins"]))
        | extra
        | {"choices": choices | {"task": "evaluate", "bound": bound["method"]}}
    )


def _completed(
    node: Mapping[str, Any], options: Mapping[str, Option], name_key: str | None, choice: str | None
) -> dict[str, Any]:
    """A group's node with the keys that its option has and an older record of it lacks."""
    name = node.get(name_key) if name_key else None
    fitting = {key: option for key, option in options.items() if option.name == name}
    option = fitting.get(choice or "") or next(iter(fitting.values()), None)
    return {**(option.values if option else {}), **node}


def _say(text: str) -> None:
    from .evaluate import say

    say(text)
