"""A search instead of a grid: Optuna asks for runs, their best validation answers (never the test split).

The study lies in the sweep's directory (study.jsonl) and is gone on with by the same command; a job that was at work when a
search ended goes on with its own values. Each validation is reported as it is logged, so that a hopeless job is ended early.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import tables
from ..errors import ConfigError
from ..files import PRUNED, UNREADABLE, write_json
from ..gaussian import BITS, NATS
from .plan import Plan, Spec, last_of_each
from .pool import Running

FILE = "study.jsonl"


class Study:
    """What Optuna knows of a sweep's trials, and its next questions."""

    def __init__(self, directory: Path, asked: Plan, *, seed: int, prune: bool, startup: int, warmup: int) -> None:
        optuna = _optuna()
        backend = optuna.storages.journal.JournalFileBackend(str(directory / FILE))
        self._optuna, self._directory, self._asked = optuna, directory, asked
        pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
        storage = optuna.storages.JournalStorage(backend)
        known = {study.study_name: study.n_trials for study in optuna.get_all_study_summaries(storage)}
        self._study = optuna.create_study(
            study_name=asked.name,
            storage=storage,
            # several at a time; a generator that begins anew would ask what it has asked
            sampler=optuna.samplers.TPESampler(seed=seed + known.get(asked.name, 0), constant_liar=True),
            pruner=pruner if prune else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        self._space = {key: self._distribution(key, value) for key, value in asked.search.items()}
        self._trials: dict[str, Any] = {}
        self._reported: dict[str, int] = {}

    def specs(self) -> Iterator[Spec]:
        """The next job, whenever there is room for one: first those that were at work before, then new ones."""
        open_ = self._study.get_trials(states=[self._optuna.trial.TrialState.RUNNING])
        for trial in open_:
            if set(trial.params) == set(self._space):
                yield self._spec(self._optuna.trial.Trial(self._study, trial._trial_id), trial.params)
        while len(self._study.get_trials(deepcopy=False)) < self._asked.trials:
            trial = self._study.ask(self._space)
            yield self._spec(trial, trial.params)

    def prune(self, running: list[Running]) -> None:
        """Report what is new of the jobs at work, and stop those that are not worth going on with."""
        for job in running:
            name = job.job.name
            trial = self._trials[name]
            for step, value in _validations(self._directory / name):
                if step > self._reported.get(name, -1):
                    self._reported[name] = step
                    trial.report(value, step)
                    if trial.should_prune():
                        what = f"validation {value:.4f} at step {step:,} is worse than the median of the others there"
                        write_json(self._directory / name / PRUNED, {"step": step, "value": value, "message": what})
                        job.stop(what)

    def tell(self, name: str, value: float, pruned: bool) -> None:
        """How a trial ended. value: its objective, infinite if it failed."""
        states = self._optuna.trial.TrialState
        trial = self._trials[name]
        if pruned:
            self._study.tell(trial, state=states.PRUNED)
        elif math.isfinite(value):
            self._study.tell(trial, value)
        else:
            self._study.tell(trial, state=states.FAIL)

    def save(self) -> str:
        """trials.csv, best first, and a sentence."""
        trials = self._study.get_trials(deepcopy=False)
        best = sorted(trials, key=lambda trial: (trial.value is None, trial.value or 0.0, trial.number))
        columns: dict[str, Any] = {
            "trial": [_named(t.number) for t in best],
            "state": [t.state.name.lower() for t in best],
        }
        columns["validation"] = [math.nan if t.value is None else t.value for t in best]
        columns |= {key: [str(t.params.get(key, "")) for t in best] for key in self._space}
        tables.save(self._directory / "trials.csv", columns)
        counts = [sum(t.state.name == kind for t in trials) for kind in ("COMPLETE", "PRUNED", "FAIL")]
        text = f"{counts[0]} of {self._asked.trials} trials to their end, {counts[1]} pruned, {counts[2]} failed"
        if not trials or best[0].value is None:
            return f"{text}: {self._directory / 'trials.csv'}"
        values = " ".join(f"{key}={_typed(value)}" for key, value in best[0].params.items())
        return f"{text}; best validation {best[0].value:.4f} with {values}: {self._directory / 'trials.csv'}"

    def _spec(self, trial: Any, params: Mapping[str, Any]) -> Spec:
        name = _named(trial.number)
        self._trials[name] = trial
        cell = {key: _typed(value) for key, value in params.items()}
        lines = [*self._asked.example, *(f"{key}={value}" for key, value in cell.items())]
        return Spec(name, last_of_each(lines), cell)

    def _distribution(self, key: str, value: Any) -> Any:
        distributions = self._optuna.distributions
        if isinstance(value, list):
            return distributions.CategoricalDistribution(value)
        low, high, log, step = value["low"], value["high"], bool(value.get("log")), value.get("step")
        whole = all(isinstance(number, int) for number in (low, high, *([step] if step else [])))
        kind = distributions.IntDistribution if whole else distributions.FloatDistribution
        try:
            return kind(low, high, log=log, **({"step": step} if step else {}))
        except ValueError as error:
            raise ConfigError(f"search.{key}={value}: {' '.join(str(error).split())}") from error


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("a search needs Optuna: pip install 'difflab[optuna]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _validations(directory: Path) -> list[tuple[int, float]]:
    """(step, bound on the validation split) of each validation so far."""
    found = []
    with suppress(OSError):
        for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            with suppress(*UNREADABLE):
                row = json.loads(line)
                value = next((row[f"val/{unit.key}"] for unit in (BITS, NATS) if f"val/{unit.key}" in row), None)
                if value is not None:
                    found.append((int(row["step"]), float(value)))
    return found


def _named(number: int) -> str:
    return f"trial{number:04d}"


def _typed(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)
