"""variance=optimal: beta before its first fit, then Analytic-DPM's formula, with the weights on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from difflab.bound.optimal import Fit
from difflab.schedule.base import Step
from difflab.train import checkpoint
from difflab.variance import _optimal
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.optimal import Optimal
from tests.analytic import NORMAL, SCHEDULES, TO_ZERO, cosine, log_linear, times

CHAINS = [(made, name) for made in (SCHEDULES, TO_ZERO) for name in made]


def fit_of(schedule) -> Fit:
    """That of data whose error is known in closed form."""
    mse = NORMAL.posterior_var(schedule.level(torch.arange(1, schedule.T + 1))).mean(1)
    return Fit(schedule.log_snr.numpy(), torch.cat([torch.zeros(1), mse]).numpy(), first=-4.0)


@pytest.mark.parametrize(("made", "name"), CHAINS)
def test_before_a_fit_it_is_what_standard_normal_data_has(made, name):
    """v* = beta, on the chain and on every jump of it."""
    schedule = made[name](40)
    variance, beta = Optimal(schedule), FixedBeta(ddpm_t1=False)
    for step in (schedule.step(times(40, 1)), schedule.step(torch.tensor([9, 30, 40]), torch.tensor([2, 5, 30]))):
        torch.testing.assert_close(variance.excess(None, step), beta.excess(None, step), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("made", "name"), CHAINS)
def test_a_fit_makes_it_the_counterfactual_bit_by_bit(made, name):
    schedule = made[name](40)
    variance, fitted = Optimal(schedule), fit_of(schedule)
    before = [value.clone() for value in variance.buffers()]
    fitted.teach(variance)
    for step in (schedule.step(times(40, 1)), schedule.step(torch.tensor([9, 30, 40]), torch.tensor([2, 5, 30]))):
        assert torch.equal(variance.excess(None, step), fitted.variance().excess(None, step))
    assert not torch.equal(variance.mse_x0, before[1])
    Fit(fitted.log_snr, fitted.mse_x0 * float("nan"), 0.0).teach(variance)  # of a network that diverged
    assert float(variance.first) == -4.0 and bool(variance.mse_x0.isfinite().all())


def test_the_fit_is_kept_with_the_weights_and_off_the_device(tmp_path: Path) -> None:
    """Finite numbers, float64, whatever type and device the network is moved to, though SNR_0 is infinite and SNR_T is 0."""
    schedule = cosine(40, zero_terminal=True)
    network, other = nn.Linear(1, 1), nn.Linear(1, 1)
    for each in (network, other):
        each.add_module("part_variance", Optimal(schedule))
    fit_of(schedule).teach(network.part_variance)  # type: ignore[arg-type]
    network.to(torch.device("meta"), torch.float16)
    state = {f"part_variance.{name}": value for name, value in network.part_variance.state_dict().items()}
    path = checkpoint.save(tmp_path / "step_00000001", {"model": state, "ema": state})
    other.part_variance.load_state_dict(
        {name.removeprefix("part_variance."): value for name, value in checkpoint.load(path)["ema"].items()}
    )
    step = schedule.step(times(40, 1))
    assert torch.equal(other.part_variance.excess(None, step), network.part_variance.excess(None, step))
    assert not list(network.part_variance.parameters())  # nothing for an optimizer to move


def test_between_the_levels_of_a_fit_it_changes_in_proportion():
    """A schedule that has learned on since: half way between two levels the error is half way between theirs."""
    schedule = log_linear(10)
    variance = _optimal.Optimal(schedule.log_snr, schedule.log_snr.sigmoid().flip(0), 0.0)
    table, mse = variance.log_snr, variance.mse_x0
    between = variance.mse_at((table[1:-1] + table[2:]) / 2)
    torch.testing.assert_close(between, (mse[1:-1] + mse[2:]) / 2, rtol=1e-12, atol=0)
    beyond = variance.mse_at(torch.tensor([20.0, -20.0], dtype=torch.float64))
    assert beyond.tolist() == [float(mse[1]), float(mse[-1])]


def test_its_gradient_to_the_levels_is_finite_and_right():
    """At t = 1 too, where SNR_s is infinite."""
    table = log_linear(6).log_snr[1:]
    variance = Optimal(log_linear(6))
    fit_of(log_linear(6)).teach(variance)
    clean = torch.tensor([torch.inf], dtype=torch.float64)

    def total(levels: torch.Tensor) -> torch.Tensor:
        chain = torch.cat([clean, levels])
        s, t = (type(log_linear(6).level(times(6, 1)))(chain[i]) for i in (times(6, 1) - 1, times(6, 1)))
        return variance.excess(None, Step(s, t, torch.zeros(6, dtype=torch.float64), s))

    levels = (table - 0.1).requires_grad_()
    assert torch.autograd.gradcheck(total, (levels,))
