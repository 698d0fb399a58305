"""The loop: a step is a function of (seed, number), so resuming, cutting batches and stopping change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.diffusion import Diffusion
from difflab.errors import ConfigError
from difflab.objective.vlb import Vlb
from difflab.optimizer.adam import Adam
from difflab.parameterization.v import V
from difflab.process.gaussian import Gaussian
from difflab.schedule.base import Schedule
from difflab.timestep.base import Timestep
from difflab.timestep.importance import Importance
from difflab.timestep.uniform import Uniform
from difflab.train import checkpoint
from difflab.train.trainer import Settings, Trainer
from difflab.variance.learned_range import LearnedRange
from tests.analytic import cosine

T, DIMS, LEVELS = 8, 6, 17


class Net(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(DIMS + 1, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 2 * DIMS))

    def forward(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.layers(torch.cat([x_t, log_snr[:, None] / 10], 1))


DATA = torch.randint(0, LEVELS, (50, DIMS), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def to_unit(x: Tensor) -> Tensor:
    return 2 * x.float() / (LEVELS - 1) - 1


def importance_of_two(schedule: Schedule) -> Importance:
    return Importance(schedule, history=2, uniform_mix=0.01)


def trainer(
    dropout: float = 0.2,
    importance: bool = True,
    seed: int = 1,
    x: Any = DATA,
    timestep: Callable[[Schedule], Timestep] | None = None,
    **changed: Any,
) -> Trainer:
    torch.manual_seed(0)
    schedule, decoder = cosine(T), DiscretizedGaussian(LEVELS)
    diffusion = Diffusion(Net(dropout), Gaussian(), schedule, V(), LearnedRange(), decoder)
    values: dict[str, Any] = {
        "steps": 30, "max_minutes": None, "batch_size": 16, "accumulate": 1, "precision": "fp32", "compile": "never", "ema_decay": 0.99,
        "grad_clip": 1.0, "skip_nonfinite": 0, "label_dropout": 0.0, "log_every": 4, "val_every": 0, "detect_anomaly": False, "profile": False,
        "workers": None,
    }  # fmt: skip
    return Trainer(
        diffusion,
        Vlb(decoder, schedule),
        (timestep or (importance_of_two if importance else Uniform))(schedule),
        Adam(lr=3e-3, warmup_steps=5, decay="cosine", betas=[0.9, 0.99]),
        x,
        to_unit,
        Settings(**{**values, **changed}),
        seed,
        torch.device("cpu"),
    )


def until(stop: int, rows: list[dict[str, float]]) -> Callable[[dict[str, float]], None]:
    class Reached(Exception):
        pass

    def on_step(row: dict[str, float]) -> None:
        rows.append(row)
        if len(rows) == stop:
            raise Reached

    on_step.reached = Reached  # type: ignore[attr-defined]
    return on_step


def flat(state: Any) -> dict[str, Tensor]:
    """Every tensor of a nested state by its path."""
    if isinstance(state, Tensor):
        return {"": state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return {f"{key}/{path}": value for key, inner in items for path, value in flat(inner).items()}


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("stop", [1, 10, 13])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_by_bit(tmp_path: Path, monkeypatch, stop, lag):
    """With dropout and an importance sampler's history, through a checkpoint on disk, in mid-epoch and mid-window; and where
    the CPU lags behind, as on a GPU."""
    monkeypatch.setattr("difflab.train.trainer.LAG", {"cpu": lag})
    whole, rows = trainer(), []
    whole.run(rows.append)

    first, before = trainer(), []
    on_step = until(stop, before)
    with pytest.raises(on_step.reached):  # type: ignore[attr-defined]
        first.run(on_step)
    directory = checkpoint.save(tmp_path / "step_00000001", first.state_dict())

    second, after = trainer(), []
    torch.manual_seed(12345)  # the process that resumes has another history
    second.load_state_dict(checkpoint.load(directory))
    second.run(after.append)

    a, b = flat(whole.state_dict()), flat(second.state_dict())
    assert a.keys() == b.keys() and second.step == whole.step == 30
    for name, value in a.items():
        assert torch.equal(value, b[name]), name
    clock = {"train/images_per_s", "train/memory_gb"}
    drop_clock = [{k: v for k, v in row.items() if k not in clock} for row in rows]
    assert [{k: v for k, v in row.items() if k not in clock} for row in before + after] == drop_clock


def test_what_a_lagging_cpu_has_seen_does_not_depend_on_what_is_logged_and_saved(monkeypatch):
    """The importance history is one step late at every step."""

    def history(lag: int, log_every: int, saves: bool) -> dict[str, Tensor]:
        monkeypatch.setattr("difflab.train.trainer.LAG", {"cpu": lag})
        run = trainer(log_every=log_every)
        run.run(lambda row: run.state_dict() if saves else None)  # type: ignore[func-returns-value]
        return flat({key: run.state_dict()[key] for key in ("model", "timestep")})

    late, on_time = history(1, 1000, saves=False), history(0, 1000, saves=False)
    for other in (history(1, 1, saves=False), history(1, 7, saves=True)):
        assert all(torch.equal(value, late[name]) for name, value in other.items())
    assert not all(torch.equal(value, late[name]) for name, value in on_time.items())


def test_a_lagging_cpu_saves_nothing_that_is_not_finite(monkeypatch):
    monkeypatch.setattr("difflab.train.trainer.LAG", {"cpu": 1})
    run = trainer(log_every=1000)
    run.nan_at_step = 5
    with pytest.raises(FloatingPointError, match="step 5"):
        run.run(lambda row: run.state_dict() if run.step == 5 else None)  # type: ignore[func-returns-value]
    assert run.step == 5


def test_steps_without_a_finite_gradient_are_left_out_and_counted_if_that_is_allowed(monkeypatch):
    """The weights, the average and the importance history are as if the step had not been; one more ends the run."""
    run, rows = trainer(skip_nonfinite=1, log_every=1), []
    before = {}

    def on_step(row: dict[str, float]) -> None:
        rows.append(row)
        if run.step == 4:
            before.update({k: v.clone() for k, v in flat(run.state_dict()).items()})
            run.nan_at_step = 5
        if run.step == 5:
            after = flat(run.state_dict())
            kept = [name for name in before if name.split("/")[0] in ("model", "ema", "optimizer", "timestep")]
            assert all(torch.equal(before[name], after[name]) for name in kept)
            run.nan_at_step = 9

    with pytest.raises(FloatingPointError, match=r"step 9 .*trainer\.skip_nonfinite"):
        run.run(on_step)
    assert [row["train/skipped"] for row in rows] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert run.skipped == 1
    again = trainer(skip_nonfinite=1)
    again.load_state_dict(trainer(skip_nonfinite=1).state_dict() | {"skipped": 1})
    assert again.skipped == 1


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not():
    def weights(seed: int) -> Tensor:
        run = trainer(seed=seed, steps=3)
        run.run(lambda row: None)
        return torch.cat([p.flatten() for p in run.model.parameters()]).detach()

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def gradient_of_first_step(**changed: Any) -> Tensor:
    run = trainer(dropout=0.0, importance=False, grad_clip=None, steps=1, **changed)
    seen: list[Tensor] = []
    run.optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.flatten() for p in run.model.parameters() if p.grad is not None]))
    )
    run.run(lambda row: None)
    return seen[0].clone()


@pytest.mark.parametrize("accumulate", [2, 3, 16])
def test_a_batch_cut_into_parts_has_the_same_gradient(accumulate):
    torch.testing.assert_close(
        gradient_of_first_step(accumulate=accumulate), gradient_of_first_step(accumulate=1), rtol=1e-5, atol=1e-6
    )


def test_max_minutes_ends_the_run_and_drives_the_decay():
    run = trainer(steps=10**9, max_minutes=0.2 / 60)
    rows: list[dict[str, float]] = []
    run.run(rows.append)
    assert 0 < run.step < 10**6 and 0.2 <= run.seconds < 5
    assert run.progress >= 1
    rates = [row["train/lr"] for row in rows if row]
    assert not rates or rates[-1] < 3e-3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_raises_before_the_update(bad):
    run = trainer()
    for _ in range(3):
        run.train_step()
    before = {k: v.clone() for k, v in flat(run.state_dict()).items()}
    parameter = next(run.model.parameters())
    handle = parameter.register_hook(lambda grad: grad * bad)
    with pytest.raises(FloatingPointError, match=r"step 4 .*optimizer\.lr"):
        run.train_step()
    handle.remove()
    after = flat(run.state_dict())
    for name in before:
        if name.split("/")[0] in ("model", "ema", "optimizer", "timestep"):
            assert torch.equal(before[name], after[name]), name


def test_gradient_clipping_bounds_the_norm_and_reports_the_unclipped_one():
    clipped, free = trainer(grad_clip=1e-3, log_every=1), trainer(grad_clip=None, log_every=1)
    seen: list[float] = []

    def norm(*_: Any) -> None:
        seen.append(
            math.sqrt(sum(float(p.grad.square().sum()) for p in clipped.model.parameters() if p.grad is not None))
        )

    clipped.optimizer.register_step_pre_hook(norm)
    a, b = clipped.train_step(), free.train_step()
    assert seen[0] == pytest.approx(1e-3, rel=1e-2) and a["train/grad_norm"] == b["train/grad_norm"] > 1e-2


def test_training_lowers_the_bound_and_the_average_is_what_is_evaluated():
    run = trainer(dropout=0.0, steps=400, log_every=100)
    rows: list[dict[str, float]] = []
    run.run(rows.append)
    bounds = [row["train/bpd"] for row in rows if row]
    assert len(bounds) == 4 and bounds[-1] < bounds[0]
    assert run.averaged.model is run.ema
    assert not torch.equal(
        torch.cat([p.flatten() for p in run.ema.module.parameters()]),
        torch.cat([p.flatten() for p in run.model.parameters()]),
    )


def test_the_row_reports_the_warm_up_and_appears_every_log_every_steps():
    rows: list[dict[str, float]] = []
    trainer(steps=8).run(rows.append)
    assert [bool(row) for row in rows] == [False, False, False, True] * 2
    assert rows[3]["train/lr"] == pytest.approx(3e-3 * 4 / 5 * 0.5 * (1 + math.cos(math.pi * 3 / 8)))


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 0}, {"batch_size": 0}, {"accumulate": 0}, {"log_every": 0}, {"accumulate": 17}, {"val_every": -1},
        {"precision": "fp16"}, {"ema_decay": 1.0}, {"max_minutes": 0.0}, {"grad_clip": -1.0}, {"workers": -1}, {"workers": 65},
    ],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(changed):
    ((key, value),) = changed.items()
    with pytest.raises(ConfigError, match=rf"trainer\.{key}={value}"):
        trainer(**changed)
