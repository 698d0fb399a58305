"""The noise of a gradient from pairs: unbiased for what is known, the same gradient for every sampler, at equal cost."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from difflab import tables
from difflab.errors import ConfigError
from difflab.task import gradients, train
from difflab.timestep.importance import Importance
from tests.task.test_tasks import TINY
from tests.test_combinations import config_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run") / "0"
    train.run(config_of([*TINY, "trainer.steps=60", "trainer.val_every=0", "timestep.history=2"]), directory)
    return directory


def test_pairs_say_variance_and_length_of_vectors_of_a_known_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within five of their own standard errors, which are right: the share beyond 1.96 of them is that of a mean."""
    scale, mean = torch.linspace(0.5, 2, 50).double(), torch.linspace(-1, 1, 50).double()
    drawn = torch.Generator().manual_seed(0)

    def gradient(trainer: Any, step: int) -> tuple[torch.Tensor, float]:
        z = torch.randn(51, generator=drawn, dtype=torch.float64)
        return mean + scale * z[:50], 3 + 0.7 * float(z[50])

    monkeypatch.setattr(gradients, "_gradient", gradient)
    monkeypatch.setattr(gradients, "trainer_of", lambda *_, **__: None)
    truth = {"variance": float(scale.square().sum()), "signal": float(mean.square().sum())}
    beyond = 0
    for _ in range(1000):
        found = gradients.noise(None, SimpleNamespace(widths=(1,)), 1, 40, lambda *_: None)  # type: ignore[arg-type]
        for name, value in truth.items():
            away = abs(found[name] - value) / found[f"{name}_se"]
            assert away < 5
            beyond += away > 1.96
        assert abs(found["loss_sd"] - 0.7) < 6 * found["loss_sd_se"] + 0.05
    assert 0.031 < beyond / 2000 < 0.083  # 5.7% for 40 pairs (Student), five standard errors of 2,000 tries around it


def test_every_sampler_has_the_same_mean_gradient_at_the_same_cost(run: Path) -> None:
    lab, _, _, _ = gradients.opened(config_of([*TINY, f"run={run}"]))
    T = lab.diffusion.schedule.T
    found, calls = {}, []
    for name, timestep in gradients.samplers(lab):
        batch = T // sum(timestep.widths)
        calls.append(batch * sum(timestep.widths))
        found[name] = gradients.noise(lab, timestep, T, 60, lambda *_: None)
        if isinstance(timestep, Importance):
            assert bool((timestep.count >= timestep.losses.shape[1]).all())
    assert set(calls) == {T}
    assert {"uniform", "stratified", "importance", "full_chain, a path", "full_chain, independent"} == set(found)
    quiet = min(found.values(), key=lambda row: row["signal_se"])
    for name, row in found.items():
        assert abs(row["signal"] - quiet["signal"]) < 5 * math.hypot(row["signal_se"], quiet["signal_se"]), name
    # a path remembers its noise, so its terms err together
    assert found["full_chain, a path"]["variance"] > found["full_chain, independent"]["variance"]


def test_the_table_is_printed_and_kept_and_nothing_of_the_run_changes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    result = gradients.run(config_of([*TINY, "task=gradients", f"run={run}", "task.pairs=2"]), tmp_path)
    printed = capsys.readouterr().out
    columns = tables.load(run / "bound" / "step_00000060-gradients.csv")
    assert list(columns["sampler"]) == [*result["gradients"]]
    for name, value in zip(columns["sampler"], columns["variance"], strict=True):
        assert name in printed and float(value) == result["gradients"][name]["variance"]
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("line", ["task.pairs=1", "task.nfe=11"])
def test_too_little_is_refused(run: Path, tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        gradients.run(config_of([*TINY, "task=gradients", f"run={run}", line]), tmp_path)
