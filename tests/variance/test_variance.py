"""The reverse variances, as excess over the posterior's, and their rules at t = 1."""

from __future__ import annotations

import pytest
import torch

from difflab.errors import ConfigError
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from difflab.variance.learned_diagonal import LearnedDiagonal
from difflab.variance.learned_range import LearnedRange
from tests.analytic import SCHEDULES, cosine, diffusion_of, linear, predict_at, random_pair, shrinking, times


def log_v(variance, schedule, head: float = 0.0, dtype=torch.float64) -> torch.Tensor:
    """log v at t = 1..T as the whole model gives it, [T]."""
    x0, eps = random_pair((schedule.T, 2), dtype=dtype)
    value = predict_at(diffusion_of(shrinking, schedule, "v", variance, head=head), x0, eps, times(schedule.T, 1))
    return value.log_var()[:, 0]


@pytest.mark.parametrize("name", SCHEDULES)
def test_fixed_variances_are_beta_and_beta_tilde(name):
    schedule = SCHEDULES[name](1000)
    step = schedule.step(times(1000, 1))
    torch.testing.assert_close(log_v(FixedBeta(ddpm_t1=False), schedule), step.log_beta, rtol=1e-12, atol=0)
    torch.testing.assert_close(log_v(FixedBetaTilde(), schedule), step.log_beta_tilde, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_only_at_t1_does_ddpm_t1_change_fixed_beta(name):
    schedule = SCHEDULES[name](1000)
    ours, ddpm, tilde = (
        log_v(v, schedule) for v in (FixedBeta(ddpm_t1=False), FixedBeta(ddpm_t1=True), FixedBetaTilde())
    )
    assert torch.equal(ours[1:], ddpm[1:]) and float(ddpm[0]) == float(tilde[0]) == float(tilde[1]) < float(ours[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SCHEDULES)
def test_learned_range_lies_between_beta_tilde_and_beta_for_f_in_0_1(name, dtype):
    schedule = SCHEDULES[name](1000)
    step = schedule.step(times(1000, 1))
    low, high = step.log_beta_tilde, step.log_beta
    slack = 0 if dtype == torch.float64 else 2e-6
    before = low
    for f in (0.0, 0.1, 0.5, 0.9, 1.0):
        value = log_v(LearnedRange(), schedule, 2 * f - 1, dtype).double()
        torch.testing.assert_close(value, f * high + (1 - f) * low, rtol=1e-6, atol=1e-11)
        assert bool((value >= before - slack).all() and (value <= high + slack + 1e-12).all())
        before = value
    torch.testing.assert_close(log_v(LearnedRange(), schedule, 1.0), high, rtol=1e-12, atol=0)


@pytest.mark.parametrize("head, share", [(-1.0, 0.0), (0.3, 0.0), (1.0, 0.0), (1.1, 1.0), (-1.1, 1.0)])
def test_out_of_range_counts_dimensions_outside_beta_tilde_to_beta(head, share):
    x0, eps = random_pair((1000, 2), dtype=torch.float32)
    diffusion = diffusion_of(shrinking, linear(1000), "v", LearnedRange(), head=head)
    prediction = predict_at(diffusion, x0, eps, times(1000, 1))
    assert torch.equal(prediction.out_of_range(), torch.full((1000,), share))


def test_learned_diagonal_adds_its_output_to_log_beta_tilde_up_to_a_limit():
    schedule = cosine(100)
    base = log_v(FixedBetaTilde(), schedule)
    torch.testing.assert_close(log_v(LearnedDiagonal(limit=10.0), schedule, 0.1), base + 0.1, rtol=0, atol=1e-4)
    torch.testing.assert_close(log_v(LearnedDiagonal(limit=10.0), schedule, -1e9), base - 10, rtol=0, atol=1e-9)
    with pytest.raises(ConfigError, match="variance.limit=0"):
        LearnedDiagonal(limit=0)


@pytest.mark.parametrize(
    "variance", [FixedBeta(ddpm_t1=False), FixedBetaTilde(), LearnedRange(), LearnedDiagonal(limit=10.0)]
)
def test_a_chain_of_one_step_has_the_variance_beta_1(variance):
    schedule = cosine(1)
    assert float(log_v(variance, schedule)) == float(schedule.step(torch.tensor([1])).log_beta)
