"""One job: from Hydra's configuration to a task, and what a sweep must know of it afterwards (in files: jobs may run
in other processes)."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .config.check import check, show, worded
from .config.compose import plain
from .config.directory import has_checkpoints
from .config.inherit import FROZEN, MACHINE, differences
from .config.pairs import check_pairs, continuous_by_file
from .config.safety import check_safety
from .config.schema import load_schema
from .errors import ConfigError, NotDefined, one_line
from .files import UNREADABLE, write_atomically, write_json

FAILED, NOT_DEFINED = "failed.json", "not_defined.json"  # in a job's directory: {"overrides": [...], "message": "..."}
OUT_OF_MEMORY = re.compile(r"OutOfMemory|out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
TRAINED = ("seed", "optimizer", "objective", "timestep", "decoder", "trainer", "init")  # besides what is frozen
AT_WORK = (
    "trainer.log_every",
    "trainer.workers",
    "trainer.profile",
    "trainer.detect_anomaly",
    "trainer.skip_nonfinite",
)
WORST = float("inf")  # what a sweeper is told of a job without a result: it minimises, and one bad cell must not end it


def checked(cfg: DictConfig, hydra_cfg: Any, plugins: tuple[str, ...]) -> dict[str, Any]:
    """The plain, checked configuration of a job; ConfigError for anything that is refused."""
    whole = {**_raw(cfg), "hydra": _raw(hydra_cfg)}
    check_safety(whole)
    schema = load_schema()
    config = check(plain(cfg), schema, plugins)
    check_safety(config)  # resolved, too: what interpolations bring in
    if config["task"]["reads"] not in ("runs", "data"):  # those have no chain
        check_pairs(config, continuous_by_file(config, hydra_cfg.runtime.choices.get("data"), schema))
    return config


@dataclass(frozen=True)
class Task:
    """The function that Hydra calls for each job. `failures` collects a single run's exception; None: a job of a sweep, whose
    failure is told in its directory. `debugging`: let exceptions pass (HYDRA_FULL_ERROR=1). `sweep`: the sweep that a single
    run is a job of, which a process of its own runs. `asked`: all jobs of sweep=NAME (a sweep.Plan)."""

    plugins: tuple[str, ...]
    debugging: bool
    failures: list[Exception] | None
    sweep: str | None = None
    asked: Any = None

    def checked(self, cfg: DictConfig) -> dict[str, Any]:
        """The plain, checked configuration of a composed one. NotDefined for a cell of a grid that is not."""
        return checked(cfg, cfg.hydra, self.plugins)

    def __call__(self, cfg: DictConfig) -> Any:
        hydra_cfg = HydraConfig.get()
        directory = Path(hydra_cfg.runtime.output_dir)
        overrides = [str(line) for line in hydra_cfg.overrides.task]
        try:
            with clean_slate():
                config = checked(cfg, hydra_cfg, self.plugins)
                in_sweep = self.failures is None or self.sweep is not None
                if in_sweep and (known := finished(directory, config)) is not None:
                    (directory / FAILED).unlink(missing_ok=True)
                    print(f"job {directory.name} is finished: {directory / 'result.json'}", file=sys.stderr, flush=True)
                    return known
                if self.asked is not None:
                    check_unchanged(directory, config)
                for name in (FAILED, NOT_DEFINED):
                    (directory / name).unlink(missing_ok=True)
                save_record(directory, cfg, hydra_cfg)
                config["sweep"] = directory.parent.name if hydra_cfg.mode is RunMode.MULTIRUN else self.sweep
                if config["task"]["reads"] == "runs":  # it may measure runs again: as they were, unless told how
                    config["typed"] = sorted({re.split(r"[=.@]", line.lstrip("+~"))[0] for line in overrides})
                config["choices"] = {
                    group: str(option) for group, option in hydra_cfg.runtime.choices.items() if group in config
                }
                result = import_module(f".task.{config['task']['name']}", __package__).run(config, directory)
        except NotDefined as error:
            if self.failures is None or self.sweep:
                skip(directory, overrides, str(error))
                return WORST
            self.failures.append(error)
        except Exception as error:
            message = sentence(error, directory)
            _tell(directory, overrides, error, message)
            if self.debugging:
                raise
            if self.failures is None:
                print(f"job {directory.name} failed: {message}", file=sys.stderr, flush=True)
                return WORST
            self.failures.append(error)
        else:
            return result.get("objective")
        return None


def finished(directory: Path, config: Mapping[str, Any]) -> float | None:
    """The objective of a job that goes on with whatever is there (resume=auto) and has nothing left to do: it trains, has its
    result, and was what it is to be, down to what does not matter for a result. None for any other."""
    if config["task"]["name"] != "train" or config["resume"] != "auto":
        return None
    recorded = _recorded(directory)
    if recorded is None or any(matters(path) for path, _ in differences(config, recorded)):
        return None
    try:
        return float(json.loads((directory / "result.json").read_bytes())["objective"])
    except UNREADABLE:
        return None


def check_unchanged(directory: Path, config: Mapping[str, Any]) -> None:
    """ConfigError if a job of a question was begun as another: its weights must not stand for what the file says now."""
    if config["task"]["name"] != "train" or not has_checkpoints(directory):
        return
    for path, was in differences(
        config, _recorded(directory) or {}
    ):  # of one that is damaged, what goes on with it tells
        if matters(path) and path.partition(".")[0] in (*FROZEN, *TRAINED) and path not in AT_WORK:
            raise ConfigError(
                f"{path} was {show(was)} when {directory} was trained, and the question says otherwise now; give hydra.sweep.dir=DIR "
                "for the new one, or remove that directory."
            )


def _recorded(directory: Path) -> dict[str, Any] | None:
    """The configuration that a run was begun with; None if there is none that can be read. (A key that it lacks is one of
    later days.)"""
    try:
        recorded = worded(OmegaConf.to_container(OmegaConf.load(directory / ".hydra" / "config.yaml"), resolve=True))
    except (*UNREADABLE, OmegaConfBaseException):
        return None
    return recorded if isinstance(recorded, dict) else None


def matters(path: str) -> bool:
    """Whether a result may depend on this key of the configuration."""
    return (path not in MACHINE or path == "data.path") and path.partition(".")[0] not in (
        "resume", "sweep", "job", "tracker", "device", "plugins", "checkpoint",
    )  # fmt: skip


def save_record(directory: Path, cfg: DictConfig, hydra_cfg: Any) -> None:
    """.hydra/ as Hydra writes it, each file whole or absent: a kill at any moment leaves a run that can be resumed."""
    shown = OmegaConf.masked_copy(hydra_cfg, [str(k) for k in hydra_cfg if k not in ("help", "hydra_help")])
    texts = {
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": shown})),
        "overrides.yaml": OmegaConf.to_yaml(hydra_cfg.overrides.task),
        "config.yaml": OmegaConf.to_yaml(cfg),
    }
    for name, text in texts.items():
        write_atomically(directory / ".hydra" / name, lambda file, text=text: file.write(text))


def sentence(error: Exception, directory: Path | None = None) -> str:
    """What a user reads of an exception: one line."""
    return one_line(_sentence(error, directory))


def _sentence(error: Exception, directory: Path | None) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{name}; make room or choose another place (hydra.run.dir, DIFFLAB_RUNS)."
    if isinstance(error, FloatingPointError):
        return str(error)
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}"):
        return (
            f"memory ran out ({' '.join(str(error).split()[:30]) or type(error).__name__}): raise trainer.accumulate (training), lower "
            "bound.batch_size (evaluation), sampler.count (sampling) or model.channels."
        )
    where = f"the traceback is in {directory / FAILED}; " if directory else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({where}HYDRA_FULL_ERROR=1 prints it)"


@contextmanager
def clean_slate() -> Iterator[None]:
    """What a job changes in its process is put back: the jobs of a sweep follow each other in one."""
    handlers = {}
    with suppress(ValueError):  # not the main thread
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    directory, environment = os.getcwd(), dict(os.environ)
    torch: Any = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    dtype = torch.get_default_dtype() if torch else None
    try:
        yield
    finally:
        first, torch = torch is None, sys.modules.get("torch")  # the first job imports it
        for number, handler in handlers.items():
            with suppress(ValueError):
                signal.signal(number, handler)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        if torch:
            if not first:
                torch.set_num_threads(threads)
                torch.set_default_dtype(dtype)
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()


def outcome(multirun_dir: Path, name: str) -> dict[str, str]:
    """{job: its message} of the jobs that left a file of this name; a job is called by the overrides that set it apart."""
    records, overrides = {}, []
    for directory in sorted(multirun_dir.glob("*/"), key=lambda path: (len(path.name), path.name)):
        for file in (NOT_DEFINED, FAILED, ".hydra/overrides.yaml"):
            with suppress(*UNREADABLE):
                record = OmegaConf.to_container(OmegaConf.load(directory / file))  # YAML reads JSON, too
                if isinstance(record, dict) and file == name:
                    records[directory.name] = record
                overrides.append(set(record["overrides"] if isinstance(record, dict) else record or ()))
    shared = set.intersection(*overrides) if len(overrides) > 1 else set()
    return {
        f"{job}: {' '.join(line for line in record['overrides'] if line not in shared)}": str(record["message"])
        for job, record in records.items()
    }


def skip(directory: Path, overrides: list[str], message: str) -> None:
    """A cell of a grid that is not defined leaves its reason and nothing that looks like a run."""
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).parent == directory:
            handler.close()
            Path(handler.baseFilename).unlink(missing_ok=True)
    shutil.rmtree(directory / ".hydra", ignore_errors=True)
    write_json(directory / NOT_DEFINED, {"overrides": overrides, "message": message})
    print(f"job {directory.name} skipped, not defined: {message}", file=sys.stderr, flush=True)


def _tell(directory: Path, overrides: list[str], error: Exception, message: str) -> None:
    """A failed job says so in its own directory and log; a full disk must not hide the failure itself."""
    with suppress(OSError):
        logging.getLogger(__name__).error(message)
        trace = "".join(traceback.format_exception(error))
        write_json(directory / FAILED, {"overrides": overrides, "message": message, "traceback": trace})


def _raw(cfg: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
