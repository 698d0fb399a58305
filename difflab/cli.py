"""`difflab ...` and `python -m difflab ...`: Hydra behind a door that checks first.

Everything that can be judged without torch is judged before Hydra makes a directory, configures logging or instantiates
anything. Then Hydra runs with exactly the command line that was checked, its directory settled.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from . import sweep
from .config.arguments import check_typed, flags, parse, plugins, with_config_dir
from .config.check import listed
from .config.compose import VERSION, Composer, brief, composer, quoted, translated
from .config.directory import Prepared, default_directory, has_checkpoints, prepare, runs_root
from .config.inherit import check_same, check_untouched, find_run, inherited, load_run, needs_run
from .config.schema import conf_directory, load_schema
from .config.show import show
from .console import outlived
from .errors import ConfigError, NotDefined
from .job import FAILED, NOT_DEFINED, Task, checked, outcome, sentence
from .lock import held


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 with one sentence on stderr, 130 / 143 after SIGINT / SIGTERM."""
    debugging = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with outlived(), _terminable():
            return _main(list(sys.argv[1:] if argv is None else argv), debugging)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as stopped:
        if stopped.code is None or isinstance(stopped.code, int):
            return stopped.code or 0
        print(stopped.code, file=sys.stderr)
        return 1
    except Exception as error:
        if debugging:
            raise
        # of torchrun's processes one tells; a RANK without a world silences nobody
        rank, world = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
        if not (isinstance(error, ConfigError) and rank.isdecimal() and int(rank) and world not in ("", "1")):
            print(sentence(error), file=sys.stderr)
        return 1


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


def _main(argv: list[str], debugging: bool) -> int:
    args = parse(argv)
    if args.shell_completion or args.hydra_help:
        _hydra(argv, Task((), debugging, []))
        return 0
    with composer(conf_directory(), load_schema()) as composing:
        overrides = with_config_dir(composing.renamed(args.overrides), args.config_dir, composing)
        plan = _plan(args, overrides, composing)
        if args.help or (args.cfg and not args.info):  # both: Hydra's to refuse
            with _logging_kept():
                show(args, plan.shown or plan.overrides, composing)
            return 0
    if args.info:
        _hydra([*flags(args), *plan.overrides], Task((), debugging, []))
        return 0
    if (world := _world()) > 1:
        return _as_a_rank(plan, world, debugging)
    prepared = prepare(plan.directory, plan.key)
    with held(plan.directory, plan.key):
        if plan.multirun:
            return _sweep(["--multirun", *plan.command], plan, prepared, debugging)
        if plan.asked:  # so that `python -m difflab.sweep` knows the whole, whoever runs its jobs
            sweep.save(plan.directory.parent, plan.asked)
        return _single(plan.command, plan, prepared, debugging)


def _world() -> int:
    """How many processes torchrun has started. ConfigError if what it says in the environment is no such thing."""
    world = os.environ.get("WORLD_SIZE") or "1"
    if world == "1":
        return 1
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        value = os.environ.get(name, "")
        if not (value if name == "MASTER_ADDR" else value.isdecimal()):
            raise ConfigError(
                f"{name}={value} in the environment: torchrun sets WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; unset WORLD_SIZE "
                "to run in one process."
            )
    return int(world)


def _as_a_rank(plan: Plan, world: int, debugging: bool) -> int:
    """One of the processes of torchrun. Only the first has the directory and a voice; what the others write goes into
    directories of their own that end with them."""
    if plan.multirun or plan.task not in ("train", "evaluate"):
        what = "a sweep" if plan.multirun else f"task={plan.task}"
        raise ConfigError(f"{what} runs in one process, and torchrun has started {world}; leave torchrun out.")
    from .ranks import joined  # torch takes seconds, and the command line is judged before

    with joined() as ranks:
        if ranks.first:
            prepared = prepare(plan.directory, plan.key)
            with held(plan.directory, plan.key):
                return _single(plan.command, plan, prepared, debugging)
        said = io.StringIO()
        with (
            tempfile.TemporaryDirectory(prefix=f"difflab-rank{ranks.rank}-") as directory,
            redirect_stdout(io.StringIO()),
            redirect_stderr(said),
        ):
            plan = replace(plan, directory=Path(directory) / "run")
            code = _single(plan.command, plan, prepare(plan.directory, plan.key), debugging)
        if code:
            print(f"rank {ranks.rank}: {said.getvalue().strip().splitlines()[-1]}", file=sys.stderr, flush=True)
        return code


def _plan(args: Namespace, overrides: list[str], composing: Composer) -> Plan:
    """Check everything that can be checked now."""
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
    plan = _plan(args, [*lines, f"hydra.run.dir={quoted(str(directory / name))}"], composing)
    return replace(plan, asked=asked, sweep=directory.name)


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


def _single(command: list[str], plan: Plan, prepared: Prepared, debugging: bool) -> int:
    failures: list[Exception] = []
    try:
        of = os.environ.get(sweep.VARIABLE) or plan.sweep
        _hydra(command, Task(plan.plugins, debugging, failures, of, plan.asked))
    except ConfigError:
        prepared.undo()
        raise
    if not failures:
        return 0
    print(sentence(failures[0], plan.directory), file=sys.stderr)
    if isinstance(failures[0], ConfigError):
        prepared.undo()  # refused by what was built from it
    return 1


def _sweep(command: list[str], plan: Plan, prepared: Prepared, debugging: bool) -> int:
    """All jobs, then the comparison and the failures, from files: whatever ended the sweep, they are told."""
    if plan.asked:
        sweep.save(plan.directory, plan.asked)
    try:
        _hydra(command, Task(plan.plugins, debugging, None, asked=plan.asked))
    except ConfigError:
        if not any(path.is_dir() for path in plan.directory.iterdir()):  # the sweeper refused before the first job
            prepared.undo()
        raise
    finally:
        failed = outcome(plan.directory, FAILED)
        interrupted = isinstance(sys.exc_info()[1], SystemExit | KeyboardInterrupt)
        compared = _compare(plan, bool(failed) and plan.task == "train", interrupted)
        for name, message in failed.items():
            print(f"job {name} failed: {message}", file=sys.stderr)
    jobs = [path for path in plan.directory.iterdir() if (path / ".hydra").is_dir()]
    if plan.asked and plan.task == "train" and not sweep.ended(plan.directory, plan.asked):
        return 1  # some are at work elsewhere
    return 0 if compared and jobs and not failed else 1


def _compare(plan: Plan, lost: bool, interrupted: bool) -> bool:
    """Write and print the comparison of a sweep; False if it could not be made. `lost`: trainings failed, which it tells."""
    directory, asked = plan.directory, plan.asked
    not_defined = outcome(directory, NOT_DEFINED) | (sweep.not_defined(asked) if asked else {})
    if not lost and not not_defined and not any(directory.glob("*/result.json")):
        return True  # no job of the sweep trained
    try:
        from .task.compare import write

        print(write(directory, not_defined, interrupted), flush=True)
        if asked and asked.tables:
            print(f"\n{sweep.tables(directory)}", flush=True)
    except Exception as error:
        print(f"no comparison of {directory}: {sentence(error)}", file=sys.stderr)
        return False
    return True


def _hydra(command: list[str], task: Any) -> None:
    """hydra.main on `command`, with its exceptions passed on instead of printed."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *command]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with translated(load_schema, command), _logging_kept():
            sweep.register()
            hydra.main(config_path=str(conf_directory()), config_name="config", **VERSION)(task)()
    except (ConfigError, OSError):
        raise
    except Exception as error:  # a job's own do not come here: Hydra's, or its launcher's or sweeper's
        own = ("hydra.run.dir=", "hydra.sweep.dir=", "hydra.output_subdir=")
        lines = [line for line in command if line.lstrip("+~").startswith("hydra") and not line.startswith(own)]
        if full == "1" or not lines:
            raise
        raise ConfigError(
            f"{' '.join(lines)}: Hydra cannot do this ({type(error).__name__}: {brief(error)})."
        ) from error
    finally:
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Hydra configures logging for good: a caller in the same process gets its own handlers back."""
    loggers = [logging.getLogger(name) for name in (None, "hydra")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, level in before:
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers[:] = handlers
            logger.setLevel(level)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the program as an exception does: what is open is closed, a sweep is still compared."""

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
