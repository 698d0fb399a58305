"""Cells that train the same network: counted, and trained to see that they do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from difflab.cli import main
from difflab.sweep.question import load
from difflab.train import checkpoint
from tests.faults.runs import TINY


def test_of_the_papers_48_cells_28_are_trainings(planned) -> None:
    plan = planned(load("ddpm_table_2"), "seed=0")
    assert (len(plan.jobs), len(plan.twins), len(plan.refused)) == (28, 12, 8)
    assert len({tuple(job.cell.items()) for job in plan.jobs}) == 28
    (twin,) = [
        t
        for t in plan.twins
        if t.cell | {"seed": "0"}
        == {"parameterization": "v", "variance": "fixed_beta_tilde", "objective": "hybrid", "seed": "0"}
    ]
    assert (twin.job, twin.variance) == ("v-fixed_beta-simple-seed0", "fixed_beta_tilde")


def test_an_adaptive_sampler_has_no_twin_under_another_variance(planned, ask) -> None:
    grid = "question: Q?\ngrid: {objective: [simple, hybrid], variance: [fixed_beta, fixed_beta_tilde], timestep: [uniform, importance]}\n"
    plan = planned(ask(grid))
    assert len(plan.jobs) == 1 + 2
    assert {twin.variance for twin in plan.twins if twin.cell["timestep"] == "importance"} == {None}


def test_what_the_bound_teaches_has_no_twin_without_it(planned, ask) -> None:
    grid = "question: Q?\ngrid: {data: swiss_roll, decoder: learned_gaussian, variance: fixed_beta, objective: [simple, hybrid]}\n"
    plan = planned(ask(grid))
    assert [job.cell["objective"] for job in plan.jobs] == ["hybrid"] and not plan.twins and len(plan.refused) == 1


def test_a_twin_must_be_able_to_take_its_keys(planned, ask) -> None:
    grid = "question: Q?\nbase: [timestep=uniform]\ngrid: {objective: hybrid, objective.vlb_weight: [0.001, 0.1], variance: fixed_beta}\n"
    plan = planned(ask(grid))
    assert [job.cell["objective"] for job in plan.jobs] == ["hybrid", "hybrid"] and not plan.twins


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Runs of three objectives with two fixed variances."""
    root = tmp_path_factory.mktemp("twins")
    cells = [(o, v) for o in ("simple", "hybrid", "vlb") for v in ("fixed_beta", "fixed_beta_tilde")]
    for objective, variance in cells:
        line = [*TINY, f"objective={objective}", f"variance={variance}", "timestep=uniform", "trainer.val_every=0"]
        line = [word for word in line if not word.startswith("timestep.history")]
        assert main([*line, f"hydra.run.dir={root / f'{objective}-{variance}'}"]) == 0
    return {(o, v): root / f"{o}-{v}" for o, v in cells}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.latest(run) / "model.safetensors")


def test_twins_have_the_same_weights_and_others_have_not(trained: dict[tuple[str, str], Path]) -> None:
    one = weights(trained["simple", "fixed_beta"])
    for twin in (("simple", "fixed_beta_tilde"), ("hybrid", "fixed_beta"), ("hybrid", "fixed_beta_tilde")):
        other = weights(trained[twin])
        assert all(torch.equal(one[key], other[key]) for key in one)
    other = weights(trained["vlb", "fixed_beta"])
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_a_twins_bound_stands_in_the_others_prices(trained: dict[tuple[str, str], Path]) -> None:
    priced = json.loads((trained["simple", "fixed_beta"] / "result.json").read_text())["variances"]["fixed_beta_tilde"]
    own = json.loads((trained["hybrid", "fixed_beta_tilde"] / "result.json").read_text())
    for key in ("bpd", "bpd_se", "prior_kl", "transition_kl", "decoder_nll"):
        assert priced[key] == pytest.approx(own[key], rel=1e-5, abs=1e-9)
