"""Train, validate the bound as it goes, then measure it in full on the test split and draw samples."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import ranks
from ..allocator import keep_large_blocks
from ..assemble import Laboratory, assemble, load_weights
from ..bound import ledger
from ..bound.insight import optimal_variance_bound
from ..bound.optimal import Fit, smooth_mse_x0
from ..bound.sums import Sums, add_up
from ..build import build
from ..config.inherit import frozen
from ..console import Progress, duration
from ..environment import write_environment
from ..errors import ConfigError
from ..figure import buckets, heatmap, per_log_snr_curve, per_t_curve
from ..files import write_json
from ..tracker.base import Curve, RunInfo, Tracker
from ..train import checkpoint
from ..train.lessons import lessons
from ..train.metrics import MetricsFile
from ..train.signals import Stop
from ..train.trainer import Settings, Trainer
from ..variance.base import Fitted
from . import figures
from .estimate import forecast
from .evaluate import finite, say, stem, table, validate
from .measure import Measurement, stage, training_fit
from .origin import origin
from .sample import caveat, chain_of, columns, draw, picture

GROUPS = ("data", "schedule", "parameterization", "variance", "model", "objective", "timestep")  # the tags of a run


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=train: everything contract.md promises of a run directory; returns result.json's values and `objective`."""
    keep_large_blocks()
    lab = assemble(config)
    return Session(lab, run_dir).run()


class Session:
    """One training run in its directory."""

    def __init__(self, lab: Laboratory, run_dir: Path) -> None:
        config = lab.config
        self.lab, self.run_dir, self.unit = lab, run_dir, lab.diffusion.unit
        least = {"checkpoint.every": 0, "checkpoint.keep_last": 1, "debug.slow_step": 0, "debug.nan_at_step": 1}
        for key, smallest in least.items():
            group, _, name = key.partition(".")
            if (value := config[group][name]) is not None and not smallest <= value < math.inf:
                raise ConfigError(f"{key}={value} must be at least {smallest}; conf/config.yaml says what it means.")
        self.trainer = Trainer(
            lab.diffusion, lab.objective, lab.timestep, lab.optimizer,
            lab.data.train.x, lab.data.to_unit, Settings(**config["trainer"]), config["seed"], lab.device, lab.data.train.label, lab.augmentation,
        )  # fmt: skip
        self.trainer.nan_at_step = config["debug"]["nan_at_step"]
        self.ranks = ranks.current()
        self.tracker: Tracker = build("tracker", config["tracker"] if self.ranks.first else {"kind": "none"})
        self.last_row: tuple[dict[str, float], dict[str, Path], dict[str, Curve]] = ({}, {}, {})
        self.history: list[dict[str, Any]] = []  # per-t values of each validation, for the heatmap
        self.tracker_id: str | None = None
        self.validate_seconds = 0.0  # validation and its pictures, over all resumptions
        self.space_seconds, self.space_progress = 0.0, dict[str, Any]()  # of what the space learns first
        self.pending: dict[str, float] | None = None  # the row of a step whose validation was interrupted
        self.saved_rows: dict[str, Any] | None = None  # what the checkpoint says of metrics.jsonl
        self._restore()

    def run(self) -> dict[str, Any]:
        trainer, say_plan = self.trainer, forecast(self.lab, self.trainer)
        say(say_plan)
        write_environment(self.run_dir, self.lab.device)
        self.metrics = MetricsFile(self.run_dir / "metrics.jsonl", trainer.step, self.saved_rows)
        if self.metrics.damage and self.ranks.first:
            say(self.metrics.damage)
        self.tracker.start(self.run_dir, dict(self.lab.config), self._info())
        code = 1
        try:
            with Stop() as self.stop, torch.autograd.set_detect_anomaly(self.lab.config["trainer"]["detect_anomaly"]):
                self._learn_space()
                with (
                    self._profiler() as self.profiler,
                    Progress("training", unit="step", total=trainer.settings.steps) as self.bar,
                ):
                    self.bar.start_at(trainer.step)
                    if self.pending is not None:
                        self._on_step(self.pending)
                    trainer.run(self._on_step)
                result = self._finish()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
            raise
        finally:
            if any(self.last_row):  # stopped during the final measurement
                self.tracker.log(self.trainer.step, *self.last_row)
            self.metrics.close()
            self.tracker.finish(code)
        return result

    # -- before training ------------------------------------------------------------------------------------------

    def _learn_space(self) -> None:
        """What the chain's space must learn first; saved as often as training is, as the checkpoint of step 0."""
        space, trainer, every = self.lab.diffusion.space, self.trainer, self.lab.config["checkpoint"]["every"]
        if space.ready:
            return
        torch.set_num_threads(trainer.compute.threads)
        data, place = self.lab.data, self.run_dir / "checkpoints" / stem(0)
        source = lessons(data.train.x, data.to_unit, self.lab.device, self.lab.config["seed"], trainer.settings.workers)
        with Progress("learning the space", unit=space.unit_of_lessons) as bar:
            started, before = time.perf_counter(), self.space_seconds
            for lesson in space.learn(source, self.space_progress):
                if not bar.done:
                    bar.start_at(lesson.done - 1)
                bar.note(lesson.notes)
                bar.update(lesson.done, lesson.total)
                self.space_seconds = before + time.perf_counter() - started
                self.stop.agree(self.ranks)
                if self.stop.requested or (every and lesson.done % every == 0 and space.progress):
                    self._save(place)
                self.stop.check()
            self.space_seconds = before + time.perf_counter() - started
        # every rank has learned the same; rounding may differ where a GPU's does
        self.lab.model.load_state_dict(self.ranks.share(self.lab.model.state_dict()))
        trainer.ema.module.load_state_dict(self.lab.model.state_dict())
        self._save(place)

    # -- during training ------------------------------------------------------------------------------------------

    def _on_step(self, row: dict[str, float]) -> None:
        trainer, config = self.trainer, self.lab.config
        images: dict[str, Path] = {}
        curves: dict[str, Curve] = {}
        if self.profiler:
            self.profiler.step()
        if config["debug"]["slow_step"]:
            time.sleep(config["debug"]["slow_step"])
        if row:
            self.bar.note({"loss": row["train/loss"], self.unit.label: row[f"train/{self.unit.key}"]})
        self.bar.update(trainer.step)
        last = trainer.progress >= 1
        if last or (trainer.settings.val_every and trainer.step % trainer.settings.val_every == 0):
            trainer.check()
            started = time.perf_counter()
            row, images, curves = self._validated(row)
            self.validate_seconds += time.perf_counter() - started
            self.bar.note({f"val {self.unit.label}": row[f"val/{self.unit.key}"]})
        if row:
            self.metrics.write({"step": trainer.step, **row, **self._files(images, curves)})
            if last:
                self.last_row = (row, images, curves)  # logged with the final figures: one call for each step
            else:
                self.tracker.log(trainer.step, row, images, curves)
        self.stop.agree(self.ranks)
        every = config["checkpoint"]["every"]
        if last or self.stop.requested or (every and trainer.step % every == 0):
            self._save(self.run_dir / "checkpoints" / stem(trainer.step))
        self.stop.check()

    def _validated(self, row: dict[str, float]) -> tuple[dict[str, float], dict[str, Path], dict[str, Curve]]:
        """The row with what a validation adds, its pictures, its curves. If it is told to stop, it has changed nothing, and is
        made up for when the run goes on."""
        lab, trainer = self.lab, self.trainer
        self.pending = row
        try:
            self._fit_variance()
            with stage("validating", self.stop, transient=True) as on_batch:
                estimate = validate(lab, trainer.averaged, lab.data.val, on_batch)
            sums = add_up(estimate)
            fit = Fit(estimate.log_snr, smooth_mse_x0(sums), first=0.0)  # good enough to choose a preview's chain
            with stage("sampling", self.stop, unit="step", transient=True) as on_step:
                chain = chain_of({lab.validation.clip_x0: fit}, lab.preview)
                x = draw(lab, trainer.averaged, lab.preview, chain, on_step)
        except SystemExit:
            self._save(self.run_dir / "checkpoints" / stem(trainer.step))
            raise
        self.pending = None
        return row | self._keep(sums), self._pictures(x), self._curves()

    def _fit_variance(self) -> None:
        """Tell a variance that is fitted what training examples say of the averaged weights: the average's own, which is
        evaluated, and the one that the mean is trained with."""
        lab, trainer = self.lab, self.trainer
        fitted = [v for v in (trainer.averaged.variance, trainer.diffusion.variance) if isinstance(v, Fitted)]
        if fitted:
            measured = lab.computing(trainer.averaged, "evaluate")
            fits, _ = training_fit(lab, measured, trainer.step, self.run_dir / "bound", self.stop, transient=True)
            for variance in fitted:
                fits[False].teach(variance)

    def _keep(self, sums: Sums) -> dict[str, float]:
        """The bound on the validation split with the EMA weights: val/* and bound/bucket_*."""
        trainer, key = self.trainer, self.unit.key
        self.ledger = ledger.build(sums)
        values = self.ledger.totals
        if self.lab.diffusion.priced:
            values = values | {f"{key}_optimal_variance": optimal_variance_bound(sums)[0]}
        self.ledger.save(self.run_dir / "bound" / f"val_{stem(trainer.step)}.csv")
        self._save_training_terms()
        of_chain = self.ledger.columns["t"] > 0  # what a space adds is no row of the map
        self.history.append({"step": trainer.step, "values": finite(self.ledger.columns[key][of_chain].tolist())})
        if math.isfinite(values[key]) and (trainer.best is None or values[key] < trainer.best):
            trainer.best = values[key]
            self._save(self.run_dir / "checkpoints" / "best")
        wanted = (
            "prior_kl",
            "transition_kl",
            "decoder_nll",
            "mean_error",
            "variance_mismatch",
            *self.lab.diffusion.space.terms,
        )
        names = (key, f"{key}_se", *wanted, *(f"{name}_se" for name in wanted), f"{key}_optimal_variance")
        return {f"val/{name}": values[name] for name in names if name in values} | buckets(self.ledger)

    def _save_training_terms(self) -> None:
        """What the training steps since the last validation say of each t: unweighted mean, standard error, count."""
        count, mean, se = (column.numpy() for column in self.trainer.meter.read_per_t())
        scale = 1 / (self.lab.data.dims * self.unit.nats)
        key, seen = self.unit.key, count > 0
        columns = {"t": np.arange(1, len(count) + 1)[seen], key: mean[seen] * scale, f"{key}_se": se[seen] * scale}
        table = ledger.Ledger(self.unit, columns | {"count": count[seen].astype(np.int64)}, {})
        table.save(self.run_dir / "bound" / f"train_{stem(self.trainer.step)}.csv")

    def _pictures(self, x: Tensor) -> dict[str, Path]:
        """Samples from fixed noise and the map of L_t over t and training step."""
        return {
            "sample/grid": picture(
                self.lab,
                x,
                self.run_dir / "samples" / f"{stem(self.trainer.step)}",
                columns(self.lab, self.lab.preview),
            ),
            "bound/heatmap": heatmap(self.history, self.run_dir / "figures" / "heatmap.png", unit=self.unit.label),
        }

    def _curves(self) -> dict[str, Curve]:
        return {"bound/per_t": per_t_curve(self.ledger), "bound/per_log_snr": per_log_snr_curve(self.ledger)}

    def _files(self, images: dict[str, Path], curves: dict[str, Curve]) -> dict[str, str]:
        """Where each logged picture and curve lies in the run directory: metrics.jsonl is the record of all of them."""
        table = f"bound/val_{stem(self.trainer.step)}.csv"
        return {key: str(path.relative_to(self.run_dir)) for key, path in images.items()} | dict.fromkeys(curves, table)

    # -- at the end -----------------------------------------------------------------------------------------------

    def _finish(self) -> dict[str, Any]:
        """The bound on the test split, samples of the full chain, figures, result.json (last)."""
        lab, trainer, key = self.lab, self.trainer, self.unit.key
        started = time.perf_counter()
        base = self.run_dir / "bound" / stem(trainer.step)
        measurement = Measurement(lab, trainer.averaged, lab.data.test, lab.bound, base, trainer.step, self.stop)
        result = measurement.run()
        evaluated = time.perf_counter()
        with stage("sampling", self.stop, unit="step") as on_step:
            x = draw(lab, trainer.averaged, lab.sampler, chain_of(measurement.fits, lab.sampler), on_step)
        samples = picture(lab, x, self.run_dir / "samples" / "final", columns(lab, lab.sampler))
        title = self.lab.config["tracker"].get("name") or self._info().name or ""
        drawn = figures.draw_all(base, result, self.run_dir / "figures", title)
        result |= {
            "objective": trainer.best if trainer.best is not None else result[key],
            f"best_val_{key}": trainer.best,
            "step": trainer.step,
            "seed": lab.config["seed"],
            "choices": self._choices() | {"T": lab.diffusion.schedule.label},
            "compute": trainer.compute.state() | {"ranks": self.ranks.world},
            "parameters": sum(p.numel() for p in lab.model.parameters()),
            "train_seconds": trainer.seconds,
            "validate_seconds": self.validate_seconds,
            **({} if lab.diffusion.space.identity else {"space_seconds": self.space_seconds}),
            "evaluate_seconds": evaluated - started,
        }
        (row, images, curves), self.last_row = self.last_row, ({}, {}, {})
        self.tracker.log(trainer.step, row, images | {"sample/final": samples} | drawn, curves)
        summary = self._summary(result)
        self.metrics.write(
            {"step": trainer.step, "summary": summary, **self._files({"sample/final": samples} | drawn, {})}
        )
        self.tracker.summary(summary)
        if self.ranks.first:
            self.tracker.artifact(checkpoint.latest(self.run_dir), f"checkpoint-{self.run_dir.name}")
        write_json(self.run_dir / "result.json", finite(result))
        measurement.forget_rows()
        print(table(result, lab))
        print(
            f"trained {trainer.step:,} steps in {duration(trainer.seconds)}, validated in {duration(self.validate_seconds)}, evaluated {result['nfe']:,} terms of "
            f"{result['examples']:,} test examples in {duration(result['evaluate_seconds'])}\n"
            f"figure  {drawn['bound/figure']}\n"
            + "\n".join([f"samples {samples}", *caveat(lab.sampler), f"run     {self.run_dir}"]),
            flush=True,
        )
        return result

    def _summary(self, result: dict[str, Any]) -> dict[str, Any]:
        key = self.unit.key
        scalars = {name: value for name, value in result.items() if isinstance(value, int | float | str)}
        return finite(scalars | {f"best/val_{key}": result[f"best_val_{key}"]})

    # -- state ----------------------------------------------------------------------------------------------------

    def _save(self, directory: Path) -> None:
        state = self.trainer.state_dict() | {
            "history": self.history,
            "tracker_id": self.tracker.id,
            "validate_seconds": self.validate_seconds,
            **self._space_state(),
            "pending": finite(self.pending),
            "options": self._options(),
            "design": frozen(self.lab.config) | {"seed": self.lab.config["seed"]},
            "data": self.lab.fingerprint,
            "metrics": self.metrics.state(),
        }
        if self.ranks.first:
            checkpoint.save(directory, state)
            checkpoint.prune(self.run_dir, self.lab.config["checkpoint"]["keep_last"])
        self.ranks.share(None)  # nobody ends before it is saved: torchrun would end the one who saves

    def _space_state(self) -> dict[str, Any]:
        """What a checkpoint holds of a space beside its weights."""
        space = self.lab.diffusion.space
        return {} if space.identity else {"space": {"seconds": self.space_seconds, "progress": space.progress}}

    def _restore(self) -> None:
        """`resume` (go on exactly) or `init` (another run's weights, everything else fresh)."""
        if self.ranks.first:
            checkpoint.tidy(self.run_dir)
        state, source = self.ranks.share(self._origin() if self.ranks.first else (None, None))
        if state is None or source is None:
            return
        if self.lab.config["resume"]:
            self._load(state, source)
            if self.ranks.first and checkpoint.run_of(source) == self.run_dir.resolve():
                checkpoint.leave_later(self.run_dir, self.trainer.step)
            say(f"resuming from {source} at step {self.trainer.step}")
        else:
            load_weights(self.lab.model, state["ema"], source)
            self.trainer.ema.module.load_state_dict(state["ema"])

    def _origin(self) -> tuple[dict[str, Any] | None, Path | None]:
        config = self.lab.config
        return origin(self.run_dir, config["resume"], config["init"])

    def _load(self, state: dict[str, Any], source: Path) -> None:
        self.lab.check_same(state, source)
        if state["design"]["seed"] != self.lab.config["seed"]:
            raise ConfigError(
                f"seed is {state['design']['seed']} in {source} and {self.lab.config['seed']} here; a run keeps its seed: leave it out, or start "
                f"anew from these weights with init={source}."
            )
        load_weights(self.lab.model, state["model"], source)
        before, now = state["options"], self._options()
        if before["optimizer"] != now["optimizer"]:
            raise ConfigError(
                f"optimizer={now['optimizer']}: {source} holds the state of optimizer={before['optimizer']}; resume with that, "
                f"or start anew from its weights with init={source}."
            )
        if (before["objective"], before["timestep"]) != (now["objective"], now["timestep"]):
            say("the objective or the timestep sampler is another: what the sampler learned of the losses starts anew")
            state |= {"timestep": self.lab.timestep.state_dict(), "unread": []}
        self.trainer.load_state_dict(state)
        self.history, self.tracker_id = state["history"], state["tracker_id"]
        self.validate_seconds = state.get("validate_seconds", 0.0)  # not in the checkpoints of 0.1.0's first days
        self.space_seconds = state.get("space", {}).get("seconds", 0.0)
        self.space_progress = state.get("space", {}).get("progress", {})
        if checkpoint.run_of(source) == self.run_dir.resolve():
            self.saved_rows = state["metrics"]
        pending = state.get("pending")
        self.pending = pending and {key: math.nan if value is None else value for key, value in pending.items()}

    def _options(self) -> dict[str, Any]:
        """The choices that a checkpoint's state depends on beyond the network."""
        config = self.lab.config
        options = {"objective": dict(config["objective"]), "timestep": dict(config["timestep"])}
        return options | {"optimizer": config["optimizer"]["name"]}

    def _info(self) -> RunInfo:
        choices, sweep = self._choices(), self.lab.config.get("sweep")
        name = "-".join(choices[group] for group in ("schedule", "parameterization", "variance", "model"))
        return RunInfo(  # what tracker.name, group, tags and notes say is the tracker's affair
            name=f"{name}-{self.run_dir.name}" if sweep else name,
            group=sweep,
            job_type=str(self.lab.config["task"]["name"]),
            tags=[f"{group}={choice}" for group, choice in choices.items()],
            id=self.tracker_id,
        )

    def _choices(self) -> dict[str, str]:
        """The chosen option of each group: unet_small rather than unet, where the command line knows it."""
        chosen = self.lab.config.get("choices", {})
        named = {"space": not self.lab.diffusion.space.identity, "augmentation": self.lab.augmentation.numbers > 0}
        groups = (*GROUPS, *(group for group, told in named.items() if told))
        return {group: str(chosen.get(group) or self.lab.config[group]["name"]) for group in groups}

    def _profiler(self) -> Any:
        from contextlib import nullcontext

        if not self.lab.config["trainer"]["profile"]:
            return nullcontext()
        path = self.run_dir / "figures" / "profile.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        return torch.profiler.profile(
            schedule=torch.profiler.schedule(wait=5, warmup=5, active=10, repeat=1),
            on_trace_ready=lambda profile: profile.export_chrome_trace(str(path)),
        )
