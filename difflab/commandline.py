"""A command line, judged: what Hydra is to be handed, in which directory, and what stands around it.

Nothing here imports torch, makes a directory or starts a run.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from . import sweep
from .config.arguments import check_typed, plugins
from .config.check import listed
from .config.compose import Composer, quoted, translated
from .config.directory import default_directory, has_checkpoints, runs_root
from .config.inherit import check_same, check_untouched, find_run, inherited, load_run, needs_run
from .config.schema import load_schema
from .errors import ConfigError, NotDefined
from .job import checked


@dataclass(frozen=True)
class Plan:
    """A checked command line: what Hydra is handed, and what to do around it."""

    overrides: list[str]
    multirun: bool
    plugins: tuple[str, ...]
    directory: Path
    key: str  # the override that sets the directory
    task: str
    asked: sweep.Plan | None = None  # the jobs of sweep=NAME
    shown: list[str] = field(default_factory=list)  # what --cfg shows, if not the overrides
    sweep: str | None = None  # the sweep that a single run is a job of

    @property
    def command(self) -> list[str]:
        """For Hydra, the directory settled. It would write .hydra/ before a job is judged, in the place of what an earlier one
        left there (a file's null is not enough to stop it)."""
        return [*self.overrides, f"{self.key}={quoted(str(self.directory))}", "hydra.output_subdir=null"]


def judge(args: Namespace, overrides: list[str], composing: Composer) -> Plan:
    """Check everything that can be checked now. ConfigError for what cannot be run."""
    typed = composing.parse(overrides)
    values = {override.key_or_group: override.value() for override in typed}
    allowed = plugins(typed)
    check_typed(typed, allowed)
    if values.get("sweep") is not None:
        return _asked(args, typed, values, composing)
    if values.get("job") is not None:
        raise ConfigError(f"job={values['job']} would be ignored: it is one of the runs of sweep=NAME; type that, too.")
    overrides, saved = _from_run(overrides, typed, values, composing)
    first = composing.compose(next(composing.single_runs(overrides)))
    multirun = bool(args.multirun) or first.hydra.mode == RunMode.MULTIRUN
    if not multirun and (swept := [str(override.input_line) for override in typed if override.is_sweep_override()]):
        composing.compose(swept[:1])  # Hydra refuses it
    if multirun and saved:
        raise ConfigError(f"resume={values['resume']} goes on with one run; leave -m out.")
    params = OmegaConf.select(first, "hydra.sweeper.params") if multirun else None
    grid = [f"{key}={value}" for key, value in (params or {}).items()]  # a grid that stands in a recipe
    for single in composing.single_runs([*grid, *overrides]):
        cfg = composing.compose(single)
        for key in ("run", "resume"):
            if (value := OmegaConf.select(cfg, key)) not in (None, "auto", values.get(key)):
                raise ConfigError(f"{key}={value} stands in a file; it says which run this is, so type it.")
        try:
            checked(cfg, cfg.hydra, allowed)
        except NotDefined:
            if not multirun:  # a sweep skips that cell and goes on
                raise
    return _settle(first, multirun, overrides, allowed, values, saved)


def _asked(args: Namespace, typed: list[Override], values: dict[str, Any], composing: Composer) -> Plan:
    """sweep=NAME: all jobs of a question, or with job=NAME one of them, as the single run that it is."""
    allowed = plugins(typed)
    question = sweep.load(str(values["sweep"]))
    typed = [override for override in typed if override.key_or_group not in ("sweep", "job")]
    for override in typed:
        if override.key_or_group in ("hydra.run.dir", "hydra.sweep.subdir", "hydra/sweeper"):
            raise ConfigError(
                f"{override.input_line}: sweep={question.name} names its jobs' directories; give hydra.sweep.dir=DIR for all of them."
            )
    base = composing.parse(question.base)
    inherited = _from_run([], [*base, *typed], {o.key_or_group: o.value() for o in [*base, *typed]}, composing)[0]
    asked = sweep.plan(question, typed, composing, lambda cfg: checked(cfg, cfg.hydra, allowed), inherited)
    lines = [str(override.input_line) for override in typed if override.key_or_group.startswith("hydra")]
    rest = [line for line in lines if not line.startswith("hydra.sweep.dir=")]
    given = [str(o.value()) for o in typed if o.key_or_group == "hydra.sweep.dir"]
    directory = Path(given[-1]) if given else runs_root() / "sweep" / (question.name + sweep.suffix(question, typed))
    if values.get("job") is not None:
        return _one_job(args, asked, str(values["job"]), rest, directory, composing)
    trains = not inherited and OmegaConf.select(composing.compose(asked.example), "task.reads") is None
    if not trains and "hydra/launcher=side_by_side" in lines:
        raise ConfigError(
            f"hydra/launcher=side_by_side: the jobs of sweep={question.name} take turns at one run; leave it out."
        )
    chosen = any(line.startswith("hydra/launcher=") for line in lines) or not trains
    rest += [] if chosen else ["hydra/launcher=side_by_side"]
    rest += ["hydra/sweeper=search" if asked.search else "hydra/sweeper=cells"]
    shown = [*asked.example, *rest]
    first = composing.compose([*shown, f"hydra.sweep.dir={quoted(str(directory))}"])
    return replace(_settle(first, True, rest, allowed, values, None), asked=asked, shown=shown)


def _one_job(
    args: Namespace, asked: sweep.Plan, name: str, rest: list[str], directory: Path, composing: Composer
) -> Plan:
    found = [spec for spec in asked.jobs if spec.name == name]
    if not found or asked.search:
        choices = (
            listed([spec.name for spec in asked.jobs]) if not asked.search else "none, for a search chooses its own"
        )
        raise ConfigError(f"job={name} is none of the jobs of sweep={asked.name}: {choices}.")
    lines = [*found[0].overrides[asked.inherited :], *rest]
    whole = judge(args, [*lines, f"hydra.run.dir={quoted(str(directory / name))}"], composing)
    return replace(whole, asked=asked, sweep=directory.name)


def _settle(
    cfg: DictConfig,
    multirun: bool,
    overrides: list[str],
    allowed: tuple[str, ...],
    values: dict[str, Any],
    saved: Path | None,
) -> Plan:
    """The directory, and that no other run lives in it."""
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    HydraConfig.instance().set_config(cfg)  # for ${hydra:...} in a directory's name
    task = str(OmegaConf.select(cfg, "task.name"))
    with translated(load_schema, overrides):
        computed = OmegaConf.is_missing(OmegaConf.select(cfg, key.rpartition(".")[0]), "dir")
        given = None if computed else str(OmegaConf.select(cfg, key))
    if given == "":
        raise ConfigError(f"{key} is empty; give a directory or leave it out.")
    if saved and given and Path(given).absolute() != saved.absolute():
        raise ConfigError(
            f"hydra.run.dir={given}: resume={values['resume']} goes on in {saved}; leave hydra.run.dir out."
        )
    choices = {str(k): str(v) for k, v in cfg.hydra.runtime.choices.items()}
    reads = OmegaConf.select(cfg, "task.reads")
    directory = saved or (Path(given) if given else default_directory(choices, task, multirun, reads))
    if "${" in str(directory.absolute()):
        raise ConfigError(
            f"{key}={directory}: a directory whose path holds ${{ cannot be used, it would be read as an interpolation."
        )
    if not multirun and task == "train" and has_checkpoints(directory):
        if OmegaConf.select(cfg, "resume") is None:
            raise ConfigError(
                f"hydra.run.dir={directory} already holds checkpoints; set resume=auto to go on with them or choose another directory."
            )
        if (directory / ".hydra" / "config.yaml").is_file():
            check_same(load_run(directory).config, directory, checked(cfg, cfg.hydra, allowed))
    rest = [line for line in overrides if line.lstrip("+").partition("=")[0] != key]
    return Plan(rest, multirun, allowed, directory, key, task)


def _from_run(
    overrides: list[str], typed: list[Override], values: dict[str, Any], composing: Composer
) -> tuple[list[str], Path | None]:
    """(the overrides with a run's own configuration before those typed, the directory to go on in)."""
    task = str(values.get("task", "train"))
    options = composing.schema.options["task"]
    reads = options[task].values.get("reads") if task in options else None
    for key in ("run", "resume"):
        if any(o.key_or_group == key and o.is_sweep_override() for o in typed):
            raise ConfigError(
                f"{key} takes one run: a sweep over {key} is not possible; use runs=[A,B] with task=compare, or a shell loop."
            )
    going_on = values.get("resume") not in (None, "auto")
    ignored = {
        "run": f"task={task} reads no run (resume=RUN_DIR goes on with one, init=RUN_DIR starts from its weights)"
        * (reads != "run"),
        "resume": f"task={task} trains nothing" * (reads is not None),
        "init": (f"task={task} trains nothing" * (reads is not None))
        or "resume= goes on with its own weights" * going_on,
    }
    for key, why in ignored.items():
        if why and values.get(key) is not None:
            raise ConfigError(f"{key}={values[key]} would be ignored: {why}; leave it out.")
    if reads == "run":
        check_untouched(typed, "run")
        saved = load_run(find_run("run", needs_run(task, values)))
        return [*inherited(saved, typed, composing, keep_task=False), *overrides], None
    if reads == "runs" and not values.get("runs"):
        raise ConfigError(f"runs=null: task={task} needs runs=[RUN_DIR,RUN_DIR,...] or runs=MULTIRUN_DIR.")
    resume = values.get("resume")
    if resume is None or resume == "auto" or not isinstance(resume, str) or not resume:
        return overrides, None
    directory = find_run("resume", resume)
    return [*inherited(load_run(directory), typed, composing, keep_task=True), *overrides], directory
