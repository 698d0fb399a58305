"""schedule.T=inf on the command line: what a run says, resume to the bit, two processes with one's ledger."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from difflab.assemble import assemble
from difflab.bound.estimator import evaluate
from difflab.cli import main
from difflab.errors import ConfigError
from difflab.task import advise, gradients
from difflab.train import checkpoint
from difflab.train.trainer import Settings, Trainer
from tests.task.test_run_to_zero import strict
from tests.task.test_tasks import TINY
from tests.test_combinations import config_of
from tests.test_ranks import done, torchrun

SMALL = [line for line in TINY if not line.startswith("schedule.")]
CONTINUOUS = [*SMALL, "schedule.T=inf", "strata=12", "variance=fixed_beta", "trainer.val_every=0"]
TINY_MLP = ["model.width=16", "model.embedding=16"]
MEASURE = ["task=evaluate", "bound=exhaustive", "bound.examples=8", "bound.batch_size=20"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("continuous") / "inf"
    assert main([*CONTINUOUS, f"hydra.run.dir={directory}"]) == 0
    return directory


def test_a_run_says_that_it_is_one(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert (result["T"], result["choices"]["T"]) == ("inf", "inf")
    assert result["variance_mismatch"] == 0 and result["transition_kl"] == result["mean_error"] > 0
    assert result["nfe_fit"] == 0 and not (run / "bound" / "step_00000006-chains.csv").exists()
    with open(run / "bound" / "step_00000006.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13 and sum(float(row["bpd"]) for row in rows) == pytest.approx(result["bpd"], rel=1e-6)
    bands = (run / "bound" / "step_00000006-bands.csv").read_text().splitlines()
    assert len(bands) == 12  # of the mean error, which is all there is
    for path in run.rglob("*.json*"):
        for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            strict(text)


def test_it_goes_on_to_the_bit_from_its_own_record(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(run, again)
    for step in (4, 6):
        shutil.rmtree(again / "checkpoints" / f"step_{step:08d}")
    (again / "result.json").unlink()
    assert main([f"resume={again}"]) == 0
    states = [checkpoint.load(d / "checkpoints" / "step_00000006") for d in (run, again)]
    for part in ("model", "ema"):
        assert all(torch.equal(states[0][part][name], states[1][part][name]) for name in states[0][part])
    assert (again / "bound" / "step_00000006.csv").read_bytes() == (run / "bound" / "step_00000006.csv").read_bytes()


def test_its_chain_stays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, says in {"schedule.T=12": "schedule.T is inf in", "strata=13": "strata is 12 in"}.items():
        again = [other for other in CONTINUOUS if other.partition("=")[0] != line.partition("=")[0]]
        assert main([*again, line, f"hydra.run.dir={run}", "resume=auto"]) == 1
        assert says in capsys.readouterr().err
    assert main([*MEASURE, f"run={run}", "strata=100"]) == 1
    assert "strata=100 cannot be changed here" in capsys.readouterr().err


def test_gradients_leave_out_the_path_and_advise_says_why_not(tmp_path: Path) -> None:
    config = config_of([*SMALL, "schedule.T='inf'", "strata=12", "variance=fixed_beta"])
    names = [name for name, _ in gradients.samplers(assemble(config))]
    assert "full_chain, independent" in names and "full_chain, a path" not in names and len(names) == 4
    with pytest.raises(ConfigError, match=r"give schedule\.T a number"):
        advise.run(config | {"task": {"name": "advise", "gap": 0.01}}, tmp_path)


CHOICES = [  # every objective and timestep sampler, decoders, an endless last interval, data without a grid
    ["objective=hybrid", "timestep=uniform", "schedule.zero_terminal=true"],
    ["objective=simple", "timestep=stratified", "parameterization=eps", "decoder=categorical"],
    ["objective=min_snr", "timestep=full_chain", "timestep.markov=false", "timestep.chunk=5", "parameterization=x0"],
    ["objective=p2", "variance=fixed_beta_tilde", "schedule=linear_abar", "bound.clip_x0=true"],
    ["objective=sigmoid", "schedule=log_linear", "sampler=ddim"],
    ["data=swiss_roll", "schedule=sigmoid", "trainer.batch_size=8", "sampler.count=2"],
]


@pytest.mark.parametrize("choices", CHOICES, ids=lambda choices: choices[0])
def test_what_is_defined_trains_and_is_measured(choices: list[str]) -> None:
    tiny = TINY_MLP if "data=swiss_roll" in choices else []
    kept = [line for line in SMALL if not (tiny and line.startswith("model."))]
    lab = assemble(
        config_of([*kept, "schedule.T='inf'", "strata=12", "variance=fixed_beta", "trainer.steps=2", *tiny, *choices])
    )
    trainer = Trainer(
        lab.diffusion, lab.objective, lab.timestep, lab.optimizer, lab.data.train.x, lab.data.to_unit,
        Settings(**lab.config["trainer"]), 0, lab.device,
    )  # fmt: skip
    rows, seen = list[dict[str, float]](), list[torch.Tensor]()
    hook = lab.model.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    trainer.run(rows.append)
    hook.remove()
    levels, edges = torch.cat(seen), lab.diffusion.schedule.log_snr.float()
    drawn = levels[~torch.isin(levels, edges)]
    assert len(drawn.unique()) == len(drawn) == int((levels != edges[1]).sum())
    assert all(math.isfinite(value) for row in rows for value in row.values()) and any(rows)
    estimate = evaluate(trainer.averaged, lab.examples(lab.data.val), lab.bound)
    assert np.isfinite(estimate.totals()).all() and (estimate.whole().column("variance_mismatch") == 0).all()
    assert bool(lab.sampler.sample(trainer.averaged, lab.data.shape, 0).isfinite().all())


def test_two_processes_draw_the_same_levels(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In an evaluation: the identical ledger, byte for byte."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main([*MEASURE, f"run={run}"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert "T = inf: " in capsys.readouterr().out
    files = {path: path.read_bytes() for path in (run / "bound").glob("*exhaustive*.csv")}
    for path in (run / "bound").glob("*exhaustive*"):
        path.unlink()
    done(torchrun(*MEASURE, f"run={run}"))
    assert files and {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize("timestep", ["importance", "full_chain"])
def test_a_schedule_that_learns_moves_is_measured_and_sampled_by(timestep: str) -> None:
    """With the averaged weights' own levels."""
    kept = [line for line in SMALL if not line.startswith("model.")]
    choices = ["data=swiss_roll", "schedule=learned", f"timestep={timestep}", "trainer.batch_size=8", "trainer.steps=2"]
    choices += ["timestep.markov=false", "timestep.chunk=5"] if timestep == "full_chain" else []
    lab = assemble(
        config_of(
            [*kept, "schedule.T='inf'", "strata=12", "variance=fixed_beta", *TINY_MLP, "sampler.count=2", *choices]
        )
    )
    trainer = Trainer(
        lab.diffusion, lab.objective, lab.timestep, lab.optimizer, lab.data.train.x, lab.data.to_unit,
        Settings(**lab.config["trainer"]), 0, lab.device,
    )  # fmt: skip
    begun = lab.diffusion.schedule.log_snr.detach()
    trainer.run(lambda row: None)
    gaps = (lab.diffusion.schedule.log_snr - begun)[1:].diff()
    assert float(gaps.detach().abs().min()) > 0  # every piece, and so both ends
    assert not torch.equal(trainer.averaged.schedule.log_snr, lab.diffusion.schedule.log_snr)
    estimate = evaluate(trainer.averaged, lab.examples(lab.data.val), lab.bound)
    assert np.isfinite(estimate.totals()).all() and (estimate.whole().column("variance_mismatch") == 0).all()
    assert bool(lab.sampler.sample(trainer.averaged, lab.data.shape, 0).isfinite().all())
