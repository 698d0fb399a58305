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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import hydra

from . import sweep
from .commandline import Plan, judge
from .config.arguments import flags, parse, with_config_dir
from .config.compose import VERSION, brief, composer, translated
from .config.directory import Prepared, prepare
from .config.schema import conf_directory, load_schema
from .config.show import show
from .console import outlived
from .errors import ConfigError, NotComparable
from .job import FAILED, NOT_DEFINED, Task, outcome, sentence
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


def _main(argv: list[str], debugging: bool) -> int:
    args = parse(argv)
    if args.shell_completion or args.hydra_help:
        _hydra(argv, Task((), debugging, []))
        return 0
    with composer(conf_directory(), load_schema()) as composing:
        overrides = with_config_dir(composing.renamed(args.overrides), args.config_dir, composing)
        plan = judge(args, overrides, composing)
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
    """Write and print the comparison and the tables of a sweep; False if they could not be made. `lost`: trainings failed, which
    it tells."""
    directory, asked = plan.directory, plan.asked
    not_defined = outcome(directory, NOT_DEFINED) | (sweep.not_defined(asked) if asked else {})
    if not lost and not not_defined and not any(directory.glob("*/result.json")):
        return True  # no job of the sweep trained
    answered = bool(asked and asked.tables)
    try:
        from .task.compare import write

        print(write(directory, not_defined, interrupted), flush=True)
        compared = True
    except Exception as error:
        print(f"no comparison of {directory}: {sentence(error)}", file=sys.stderr)
        # the runs of a question of several data sets do not compare: its tables answer it
        compared = answered and isinstance(error, NotComparable)
    try:
        if answered:
            print(f"\n{sweep.tables(directory)}", flush=True)
    except Exception as error:
        print(f"no tables of {directory}: {sentence(error)}", file=sys.stderr)
        return False
    return compared


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
