"""A question's jobs for Hydra: `Cells`, a sweeper that hands a launcher the jobs of sweep.json, `Search`, one that asks Optuna,
and `SideBySide`, a launcher that runs jobs as processes on this machine.

Hydra takes plugins from packages below hydra_plugins alone. This module is known there, too, under hydra_plugins.difflab, so
that ours need no second package beside difflab.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from ..config.compose import quoted
from ..console import Progress, duration
from ..errors import ConfigError, NotDefined
from ..files import PRUNED, UNREADABLE, write_json
from ..job import FAILED, NOT_DEFINED, WORST, Task, check_unchanged, finished, skip
from . import VARIABLE, record
from .plan import Spec
from .pool import Ended, Job, Pool, Running

if TYPE_CHECKING:
    from .search import Study

OWN = (
    "hydra/launcher=",
    "hydra/sweeper=",
    "hydra.launcher.",
    "hydra.sweeper.",
    "hydra.sweep.",
    "hydra.mode=",
    "hydra.output_subdir=",
    "hydra.run.dir=",
)  # of the sweep, not of its jobs


def register() -> None:
    """Make the plugins known to Hydra, under the names that conf/hydra/ calls them by."""
    plugins = Plugins.instance()  # scans what is installed
    try:
        above = import_module("hydra_plugins")
    except ModuleNotFoundError:
        above = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    above.__dict__["difflab"] = sys.modules["hydra_plugins.difflab"] = sys.modules[__name__]
    for plugin in (SideBySide, Cells, Search):
        plugin.__module__ = "hydra_plugins.difflab"
        plugins.register(plugin)


def _positive(key: str, value: object) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ConfigError(f"{key}={value} must be a whole number, at least 1, or null.")


class SideBySide(Launcher):
    """hydra/launcher=side_by_side: jobs as processes, as many at a time as there are cores or GPUs.

    What is finished is not done again, what is not defined not started, and whatever ends a job ends that one alone.
    """

    def __init__(self, jobs: int | None, threads: int | None) -> None:
        _positive("hydra.launcher.jobs", jobs)
        _positive("hydra.launcher.threads", threads)
        self._side_by_side, self._threads = jobs, threads

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        assert isinstance(task_function, Task)
        self.context, self.task, self.config = hydra_context, task_function, config
        self.directory = Path(str(config.hydra.sweep.dir))
        environment = {VARIABLE: self.directory.name, "HYDRA_FULL_ERROR": "1" if self.task.debugging else None}
        self.pool = Pool(self._side_by_side, self._threads, self.directory / "logs", environment)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        returns: dict[str, float] = {}
        specs: dict[str, Spec] = {}
        for i, lines in enumerate(job_overrides, initial_job_idx):
            name, spec, config = self.prepared(list(lines), i)
            specs[name] = spec
            if config is None:
                returns[name] = WORST
                continue
            # of an earlier time: it is finished, or tried again
            (self.directory / name / FAILED).unlink(missing_ok=True)
            if (known := finished(self.directory / name, config)) is not None:
                returns[name] = known
        todo = [Job(name, self.command(spec)) for name, spec in specs.items() if name not in returns]
        with Watch(self.directory, specs, self.pool) as watch:
            for ended in self.pool.run(todo, watch.look):
                returns[ended.job.name] = self.outcome(ended, specs[ended.job.name], watch)
        return [
            JobReturn(overrides=spec.overrides, status=JobStatus.COMPLETED, _return_value=returns[name])
            for name, spec in specs.items()
        ]

    def prepared(self, lines: list[str], number: int) -> tuple[str, Spec, dict[str, Any] | None]:
        """A job's name, what to run, its checked configuration (None: it is not defined, which is said in its directory)."""
        cfg = self.context.config_loader.load_sweep_config(self.config, lines)
        with open_dict(cfg):
            cfg.hydra.job.id, cfg.hydra.job.num = str(number), number
        HydraConfig.instance().set_config(cfg)  # for ${hydra:...}
        name = str(cfg.hydra.sweep.subdir)
        task = [line for line in lines if not line.startswith("hydra.sweep.")]
        spec = Spec(name, task, {})
        try:
            config = self.task.checked(cfg)
            if self.task.asked is not None:
                check_unchanged(self.directory / name, config)
            return name, spec, config
        except NotDefined as error:
            skip(self.directory / name, task, str(error))
            return name, spec, None

    def command(self, spec: Spec) -> list[str]:
        typed = [str(line) for line in self.config.hydra.overrides.hydra if not str(line).startswith(OWN)]
        return [*spec.overrides, *typed, f"hydra.run.dir={quoted(str(self.directory / spec.name))}"]

    def outcome(self, ended: Ended, spec: Spec, watch: Watch) -> float:
        """What a sweeper is told of a job that has ended; a failure is told in the job's directory if it could not do so."""
        directory = self.directory / spec.name
        said = _last_line(self.pool.log(ended.job))
        if ended.code == 0:
            if (directory / NOT_DEFINED).exists():
                watch.said(f"not defined  {spec.name}: {record.state(directory).message}")
                return WORST
            watch.said(f"done  {spec.name}  {duration(ended.seconds)}")
            return _objective(directory)
        if ended.stopped is None and record.state(directory).state == "running":
            watch.said(f"at work elsewhere  {spec.name}")
        elif ended.stopped is None:
            if not (directory / FAILED).exists():
                why = (
                    f"signal {-ended.code} ended it" + " (memory ran out?)" * (ended.code == -9)
                    if ended.code < 0
                    else said
                )
                directory.mkdir(parents=True, exist_ok=True)
                write_json(directory / FAILED, {"overrides": spec.overrides, "message": why, "traceback": ""})
            watch.said(f"FAILED  {spec.name}: {record.state(directory).message or said}")
        return WORST


class Asked(Sweeper):
    """What both sweepers have: a question, a launcher, a directory."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        if not isinstance(task_function, Task) or task_function.asked is None:
            raise ConfigError(
                "hydra/sweeper=cells and search are those of a question: type sweep=NAME, and leave the sweeper out."
            )
        self.config, self.asked = config, task_function.asked
        self.starter = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def begun(self) -> Path:
        """The sweep's directory, which now says what it was."""
        assert self.config is not None
        directory = Path(str(self.config.hydra.sweep.dir))
        OmegaConf.save(self.config, directory / "multirun.yaml")
        return directory


class Cells(Asked):
    """hydra/sweeper=cells: the jobs of a question, each in a directory of its name."""

    def __init__(self, max_batch_size: int | None = None) -> None:
        _positive("hydra.sweeper.max_batch_size", max_batch_size)
        self.max_batch_size = max_batch_size

    def sweep(self, arguments: list[str]) -> Any:
        self.begun()
        specs = self.asked.jobs
        size = self.max_batch_size or max(1, len(specs))
        returns = []
        for start in range(0, len(specs), size):
            batch = [[*spec.overrides, f"hydra.sweep.subdir={spec.name}"] for spec in specs[start : start + size]]
            returns.append(self.starter.launch(batch, initial_job_idx=start))
        return returns


class Search(Asked):
    """hydra/sweeper=search: jobs that Optuna asks for, one whenever there is room (of another launcher: several at once)."""

    def __init__(self, seed: int, prune: bool, startup: int, warmup: int, at_once: int | None) -> None:
        _positive("hydra.sweeper.at_once", at_once)
        self._how, self._at_once = {"seed": seed, "prune": prune, "startup": startup, "warmup": warmup}, at_once or 4

    def sweep(self, arguments: list[str]) -> Any:
        from .search import Study

        directory = self.begun()
        study = Study(directory, self.asked, **self._how)
        try:
            if isinstance(self.starter, SideBySide):
                self._side_by_side(self.starter, study)
            else:
                self._in_batches(study)
        finally:
            print(study.save(), flush=True)

    def _side_by_side(self, launcher: SideBySide, study: Study) -> None:
        specs: dict[str, Spec] = {}

        def jobs() -> Iterator[Job]:
            for number, spec in enumerate(study.specs()):
                name, prepared, config = launcher.prepared([*spec.overrides, f"hydra.sweep.subdir={spec.name}"], number)
                specs[name] = replace(prepared, cell=spec.cell)
                if config is None:
                    study.tell(name, WORST, pruned=False)
                elif (known := finished(launcher.directory / name, config)) is not None:
                    study.tell(name, known, pruned=False)
                else:
                    yield Job(name, launcher.command(prepared))

        with Watch(launcher.directory, specs, launcher.pool, self.asked.trials) as watch:

            def look(running: list[Running]) -> None:
                study.prune(running)
                watch.look(running)

            for ended in launcher.pool.run(jobs(), look):
                name = ended.job.name
                value = launcher.outcome(ended, specs[name], watch)
                if ended.stopped is None or (launcher.directory / name / PRUNED).exists():
                    study.tell(name, value, pruned=ended.stopped is not None)
                if ended.stopped is not None:
                    watch.said(f"pruned  {name}: {ended.stopped}")

    def _in_batches(self, study: Study) -> None:
        waiting, start = study.specs(), 0
        while batch := list(islice(waiting, self._at_once)):
            lines = [[*spec.overrides, f"hydra.sweep.subdir={spec.name}"] for spec in batch]
            for spec, back in zip(batch, self.starter.launch(lines, initial_job_idx=start), strict=True):
                study.tell(spec.name, float(back.return_value), pruned=False)
            start += len(batch)


class Watch:
    """The progress of a whole sweep: jobs done, running, failed, time left."""

    def __init__(self, directory: Path, specs: Mapping[str, Spec], pool: Pool, total: int | None = None) -> None:
        self.directory, self.names, self.pool = directory, specs, pool
        self.bar = Progress("sweep", unit="job", total=total or len(self.names), every=30.0)
        self.finished: dict[str, record.State] = {}

    def __enter__(self) -> Watch:
        self.bar.__enter__()
        self._states()
        self.bar.start_at(len(self.finished))
        return self

    def __exit__(self, *error: Any) -> None:
        self._show(self._states())
        self.bar.__exit__(*error)

    def said(self, line: str) -> None:
        self.bar.line(line)

    def look(self, running: list[Running]) -> None:
        self._show(self._states())
        self.bar.update(len(self.finished))

    def _show(self, states: dict[str, record.State]) -> None:
        at_work = [f"{name} {s.share:.0%}" for name, s in states.items() if s.state == "running"]
        failed = sum(s.state == "failed" for s in states.values())
        self.bar.left = record.left(states, self.pool.slots)
        self.bar.note({"failed": str(failed) if failed else "", "running": ", ".join(at_work)})

    def _states(self) -> dict[str, record.State]:
        """Of each job; what has ended is not read again."""
        running = {r.job.name for r in self.pool.running}
        states = {name: self.finished.get(name) or record.state(self.directory / name) for name in self.names}
        self.finished = {name: s for name, s in states.items() if s.state in record.ENDED and name not in running}
        return states


def _objective(directory: Path) -> float:
    with suppress(*UNREADABLE):
        return float(json.loads((directory / "result.json").read_bytes())["objective"])
    return WORST


def _last_line(path: Path) -> str:
    with suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return "it said nothing"
