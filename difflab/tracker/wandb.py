"""Weights & Biases: the one module that imports `wandb`, and only once a run starts (a second saved otherwise).

W&B is a guest: it may fail, hang or be absent, and the run goes on with one warning. What it does to a process (an exit
hook, an exception hook, a service process and its environment variable) is undone in `finish`, because one process runs
all jobs of a multirun.
"""

from __future__ import annotations

import logging
import netrc
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ..errors import ConfigError
from .base import STEP, Curve, Rows, RunInfo, Tracker

logger = logging.getLogger(__name__)

MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
KEY_VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
TAG_LENGTH, GROUP_LENGTH = 64, 128  # W&B refuses longer ones


class Wandb(Tracker):
    """Keys: conf/tracker/wandb.yaml. Offline files: RUN_DIR/wandb/; read them with `wandb leet inspect --summary`."""

    _unreachable: ClassVar[bool] = False  # the server did not answer this process

    def __init__(
        self,
        *,
        mode: str | None,
        project: str,
        entity: str | None,
        group: str | None,
        tags: Sequence[str],
        name: str | None,
        notes: str | None,
        artifacts: bool,
    ) -> None:
        if mode not in (None, "online", "offline", "disabled"):
            raise ConfigError(
                f"tracker.mode={mode} is not one of online, offline, disabled; null chooses by the API key."
            )
        if not project or re.search(r"[/\\#?%:]", project) or len(project) > 128:
            raise ConfigError(
                f"tracker.project={project} must be 1 to 128 characters without / \\ # ? % : ; choose another name."
            )
        if isinstance(tags, str):
            raise ConfigError(f"tracker.tags={tags} must be a list; write tracker.tags=[{tags}].")
        self.mode, self.project, self.entity = mode, project, entity
        self.group, self.tags, self.name, self.notes, self.artifacts = group, tags, name, notes, artifacts
        self._run: Any = None
        self._id: str | None = None
        self._warned = False
        self._objective = False
        self._last = -1  # highest step that W&B holds
        self._before: dict[str, Any] = {}  # what wandb replaces in `sys`
        self._owns_service = False
        self._variables: list[str] = []  # set for this run only

    @property
    def id(self) -> str | None:
        return self._id

    def start(self, run_dir: Path, config: Mapping[str, Any], run: RunInfo) -> None:
        self._id = run.id
        self._before = {name: getattr(sys, name) for name in ("excepthook", "exit")}
        self._owns_service = "WANDB_SERVICE" not in os.environ
        with self._guarded("could not start"):
            import wandb

            run_dir.mkdir(parents=True, exist_ok=True)
            self._set_environment(run_dir)
            mode = self._choose_mode(wandb)
            self._run = self._init(wandb, mode, run_dir, config, run)
            self._id, self._last = self._run.id, self._run.step - 1
            self._run.define_metric(STEP)
            self._run.define_metric("*", step_metric=STEP)  # no summary=: it would replace the plain summary key
            if not self._run.settings._offline and self._run.url:
                print(f"W&B: {self._run.url}", file=sys.stderr, flush=True)

    def log(
        self,
        step: int,
        scalars: Mapping[str, float | None],
        images: Mapping[str, Path] | None = None,
        curves: Mapping[str, Curve] | None = None,
        tables: Mapping[str, Rows] | None = None,
    ) -> None:
        """The row is on disk a second later. A step that W&B already holds is left out (one warning)."""
        if self._run is None:
            return
        numbers: dict[str, Any] = {STEP: step} | {k: _plain(v) for k, v in scalars.items() if v is not None}
        media: dict[str, Any] = {}
        for key, path in (images or {}).items():
            with self._guarded(f"could not take the picture {key}"):
                import wandb

                media[key] = _lines(wandb, path) if path.suffix == ".txt" else wandb.Image(str(path))
        for key, curve in (curves or {}).items():
            with self._guarded(f"could not take the curve {key}"):
                import wandb

                table = wandb.Table(columns=[*curve.columns], data=curve.rows)
                media[key] = wandb.plot.line(table, curve.x, curve.y, title=curve.title)
        for key, rows in (tables or {}).items():
            with self._guarded(f"could not take the table {key}"):
                import wandb

                media[key] = wandb.Table(columns=[*rows.columns], data=rows.rows)
        with self._guarded(f"could not log step {step}"):
            if step <= self._last:
                raise ValueError(f"it already holds step {self._last}; metrics.jsonl has this row")
            try:
                self._run.log(numbers | media, step=step, commit=True)  # not held back until the next step
            except Exception:
                if media:  # files that cannot be copied must not cost the numbers
                    self._run.log(numbers, step=step, commit=True)
                raise
            finally:
                self._last = step

    def summary(self, values: Mapping[str, float | str | None]) -> None:
        if self._run is None:
            return
        with self._guarded("could not write the summary"):
            self._run.summary.update({key: _plain(value) for key, value in values.items()})
            self._objective |= "objective" in values

    def artifact(self, path: Path, name: str) -> None:
        if self._run is None or not self.artifacts:
            return
        with self._guarded(f"could not keep the artifact {name}"):
            import wandb

            artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name), type="model")
            (artifact.add_dir if path.is_dir() else artifact.add_file)(str(path))
            self._run.log_artifact(artifact)

    def finish(self, exit_code: int = 0) -> None:
        run, self._run = self._run, None
        try:
            if run is not None:
                with self._guarded("could not end the run cleanly"):
                    if not self._objective:
                        run.summary.update({"objective": None})  # always there: null says it was never measured
                    run.finish(exit_code=exit_code)
                if run.settings._offline and not run.disabled:
                    _say_where(Path(run.settings.sync_dir))
        finally:
            self._clean_up()

    def _set_environment(self, run_dir: Path) -> None:
        """For this run, where the user has set nothing: tables are staged in the run's directory, not in the home,
        which may be read-only; W&B's reports of its own errors are off: offline runs send them too, and exits wait.
        """
        if (mode := os.environ.get("WANDB_MODE", "")) not in ("", "shared", *MODES):  # wandb would not even start
            os.environ["WANDB_MODE"] = "offline"
            self._warn(f"does not know WANDB_MODE={mode} (it is one of {', '.join(MODES)}); the run is kept offline")
        for name, value in (("WANDB_DATA_DIR", str((run_dir / "wandb").resolve())), ("WANDB_ERROR_REPORTING", "false")):
            if name not in os.environ:
                os.environ[name] = value
                self._variables.append(name)

    def _choose_mode(self, wandb: Any) -> str:
        """Online only with a key at hand: without one wandb asks on a terminal and fails elsewhere."""
        wanted = self.mode or MODES.get(os.environ.get("WANDB_MODE", ""))
        if wanted in ("offline", "disabled"):
            return wanted
        if Wandb._unreachable:  # thirty seconds once, not once a job of a multirun
            self._warn("could not go online before; the run is kept offline")
            return "offline"
        if has_key(wandb):
            return wanted or "online"
        if wanted:
            self._warn("needs an API key to be online (`wandb login`); the run is kept offline instead")
        return "offline"

    def _init(self, wandb: Any, mode: str, run_dir: Path, config: Mapping[str, Any], run: RunInfo) -> Any:
        tags = [str(tag)[:TAG_LENGTH] for tag in (*run.tags, *self.tags)]
        group = self.group or run.group
        wanted: dict[str, Any] = {
            "silent": True,  # our one line instead of its dozen
            "console": "off",  # a progress bar is no log, and stdout stays ours
            "init_timeout": 25,  # and a few seconds until it has given up
            "finish_timeout": 120.0,  # a slow upload must not hold the next job; the files stay for `wandb sync`
            "x_transaction_log_flush_interval": 1.0,  # kill -9 loses one second, not fifteen
        }
        known = type(wandb.Settings()).model_fields  # Settings forbids names that a version does not know
        arguments = {
            "dir": str(run_dir.resolve()),
            "project": self.project,
            "entity": self.entity,
            "group": group and group[-GROUP_LENGTH:],
            "name": self.name or run.name,
            "notes": self.notes or run.notes,
            "job_type": run.job_type,
            "tags": list(dict.fromkeys(tags)),
            "id": run.id,
            "resume": "allow" if run.id else None,
            "reinit": "create_new",  # a run that someone else has open in this process stays theirs
            "config": _plain(config),
            "save_code": False,
            "settings": wandb.Settings(**{key: value for key, value in wanted.items() if key in known}),
        }
        try:
            return wandb.init(mode=mode, **arguments)
        except Exception as error:
            if mode == "offline":
                raise
            Wandb._unreachable = True
            self._warn(f"could not go online ({_first_line(error)}); the run is kept offline instead")
            return wandb.init(mode="offline", **arguments)

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._warn(f"{what} ({type(error).__name__}: {_first_line(error)})")

    def _warn(self, sentence: str) -> None:
        """Once a run; a tracker that fails at every step would bury the run's own lines."""
        if not self._warned:
            rest = "The run goes on; metrics.jsonl holds everything. Further W&B trouble is not shown."
            logger.warning("W&B %s. %s", sentence, rest)
            print(f"W&B {sentence}. {rest}", file=sys.stderr, flush=True)  # the log is a file that few look into
        self._warned = True

    def _clean_up(self) -> None:
        for name, before in self._before.items():
            now = getattr(sys, name)
            if type(getattr(now, "__self__", None)).__module__.startswith("wandb."):
                setattr(sys, name, before)
        if self._owns_service and "wandb" in sys.modules and self._before:
            with self._guarded("could not stop its service"):
                import wandb

                wandb.teardown()
        self._before = {}
        for name in self._variables:
            os.environ.pop(name, None)
        self._variables = []


def has_key(wandb: Any) -> bool:
    """Whether wandb would find credentials without asking. The key itself is never read into our hands."""
    if any(os.environ.get(name) for name in KEY_VARIABLES):
        return True
    settings = wandb.setup().settings
    address = urlsplit(settings.base_url)
    named = os.environ.get("NETRC")
    files = [Path(named).expanduser()] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in files:
        try:
            hosts = netrc.netrc(file).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if address.netloc in hosts or address.hostname in hosts:
            return True
    return bool(settings.api_key)


def _say_where(directory: Path) -> None:
    try:
        near = directory.resolve().relative_to(Path.cwd())
    except ValueError:
        near = directory
    place = shlex.quote(str(near))
    print(
        f"W&B: offline run, `wandb sync DIR` uploads it, `wandb leet DIR` shows it; DIR = {place}",
        file=sys.stderr,
        flush=True,
    )


def _plain(value: Any) -> Any:
    """Builtins only: a container of another library (OmegaConf, NumPy) is not stored as what it is."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.item() if hasattr(value, "item") else str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]


def _lines(wandb: Any, path: Path) -> Any:
    """A table with a row for each line of a text."""
    return wandb.Table(columns=["sample"], data=[[line] for line in path.read_text(encoding="utf-8").split("\n")[:-1]])
