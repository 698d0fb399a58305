"""A run with variance=optimal and schedule=learned: it is measured to what the counterfactual says of the same weights, on the
chain that the averaged weights have learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from difflab import tables
from difflab.assemble import assemble
from difflab.schedule.learned import Learned
from difflab.task import evaluate, train
from difflab.train import checkpoint
from tests.test_combinations import config_of

TINY = [
    "variance=optimal", "schedule=learned", "objective=vlb", "model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16",
    "schedule.T=12", "trainer.steps=6", "trainer.batch_size=16", "trainer.log_every=2", "trainer.val_every=3", "checkpoint.every=2",
    "checkpoint.keep_last=9", "bound.examples=16", "bound.times=3", "bound.exact_steps=2", "validation.examples=6", "preview.steps=2",
    "preview.count=4", "sampler.steps=3", "sampler.count=4", "tracker=none", "fit.examples=20", "fit.times=4", "fit.exact_steps=2",
    "chains.verify=[4]", "optimizer.warmup_steps=1", "chains.examples=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("optimal")
    return directory, train.run(config_of(TINY), directory)


def test_the_bound_is_the_counterfactual(run: tuple[Path, dict[str, Any]]) -> None:
    directory, result = run
    assert result["bpd"] == result["bpd_optimal_variance"] != result["variances"]["fixed_beta"]["bpd"]
    assert result["variances"]["own"] == result["variances"]["optimal"]
    assert result["clipped"]["bpd"] != result["clipped"]["bpd_optimal_variance"]  # v is the unclipped mean's
    assert result["nfe_fit"] == 0  # the last validation has made it
    variances = tables.load(directory / "bound" / "step_00000006-variances.csv")
    np.testing.assert_array_equal(variances["own"], variances["optimal"])
    chains = tables.load(directory / "bound" / "step_00000006-chains.csv")
    for kind in ("even", "optimal"):
        row = {
            v: (chains["steps"] == 4) & (chains["chain"] == kind) & (chains["variance"] == v)
            for v in ("own", "optimal")
        }
        assert chains["evaluated"][row["own"]] == chains["evaluated"][row["optimal"]]


def test_what_follows_training_rests_on_the_averages_own_levels(run: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = run
    saved = checkpoint.load(directory / "checkpoints" / "step_00000006")
    ours = assemble(config_of(TINY)).diffusion.schedule
    assert isinstance(ours, Learned)
    levels = {"begun": ours.log_snr.detach()[1:].numpy()}
    for part in ("ema", "model"):
        ours.load_state_dict({"rate": saved[part]["part_schedule.rate"]})
        levels[part] = ours.log_snr.detach()[1:].numpy()
    for name in ("val_step_00000006", "step_00000006", "step_00000006-clipped"):
        measured = tables.load(directory / "bound" / f"{name}.csv")["log_snr_t"][:12].astype(float)
        np.testing.assert_allclose(measured, levels["ema"], rtol=1e-12)
    fitted = tables.load(directory / "bound" / "step_00000006-fit.csv")["log_snr"]
    np.testing.assert_allclose(fitted, levels["ema"], rtol=1e-12)
    assert np.abs(levels["ema"] - levels["begun"]).max() > 1e-3 < np.abs(levels["ema"] - levels["model"]).max()


def test_a_checkpoint_brings_its_variance(run: tuple[Path, dict[str, Any]]) -> None:
    directory, result = run
    again = evaluate.run(config_of([*TINY, f"run={directory}"]), directory)
    assert again["bpd"] == result["bpd"]
    # the best of the two validations has that validation's own fit
    best = checkpoint.load(directory / "checkpoints" / "best")
    fitted = tables.load(directory / "bound" / f"step_{best['step']:08d}-fit.csv")
    for part in ("model", "ema"):
        np.testing.assert_array_equal(best[part]["part_variance.mse_x0"][1:].numpy(), fitted["mse_x0"])


def test_a_resumed_run_equals_the_uninterrupted_one(run: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """From between two fits: the mean is trained under the last one, which the checkpoint holds."""
    directory, result = run
    source = directory / "checkpoints" / "step_00000004"
    assert train.run(config_of([*TINY, f"resume={source}"]), tmp_path)["bpd"] == result["bpd"]
    whole, resumed = (checkpoint.load(run / "checkpoints" / "step_00000006") for run in (directory, tmp_path))
    for part in ("model", "ema"):
        assert all(torch.equal(value, resumed[part][name]) for name, value in whole[part].items())
