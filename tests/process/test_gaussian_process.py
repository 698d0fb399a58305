"""q: its chain, its composition, its posterior by Bayes' rule, its prior."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from difflab.process.gaussian import Gaussian
from tests.analytic import SCHEDULES, random_pair, times

PROCESS = Gaussian()


@pytest.mark.parametrize("name", SCHEDULES)
def test_single_steps_have_the_moments_of_the_marginal(name):
    schedule = SCHEDULES[name](50)
    x0, _ = random_pair((1, 4))
    mean, var = x0, torch.zeros(1, 1, dtype=torch.float64)
    for t in range(1, 51):
        step = schedule.step(torch.tensor([t]))
        single = PROCESS.step(mean, step)
        gain = step.t.alpha / step.s.alpha
        mean, var = single.mean, gain**2 * var + single.log_var.exp()
        marginal = PROCESS.marginal(x0, step.t)
        torch.testing.assert_close(mean, marginal.mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(var, marginal.log_var.exp(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("u, s, t", [(0, 1, 2), (1, 2, 3), (5, 20, 50), (0, 49, 50)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_two_jumps_compose_to_one(name, u, s, t):
    schedule = SCHEDULES[name](50)
    x_u, _ = random_pair((1, 4))
    first, second, direct = (schedule.step(torch.tensor([b]), torch.tensor([a])) for a, b in ((u, s), (s, t), (u, t)))
    middle = PROCESS.step(x_u, first)
    both, once = PROCESS.step(middle.mean, second), PROCESS.step(x_u, direct)
    torch.testing.assert_close(both.mean, once.mean, rtol=1e-12, atol=0)
    gain = second.t.alpha / second.s.alpha
    torch.testing.assert_close(
        gain**2 * middle.log_var.exp() + both.log_var.exp(), once.log_var.exp(), rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("s, t", [(1, 2), (3, 4), (49, 50), (1, 50), (10, 30)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_posterior_is_bayes_rule(name, s, t):
    """q(x_s|x_t,x_0) ~ q(x_t|x_s) q(x_s|x_0): precisions and precision-weighted means add."""
    schedule = SCHEDULES[name](50)
    x0, eps = random_pair((1, 4))
    step = schedule.step(torch.tensor([t]), torch.tensor([s]))
    x_t = PROCESS.noised(x0, step.t, eps)
    prior, gain = PROCESS.marginal(x0, step.s), step.t.alpha / step.s.alpha
    beta = PROCESS.step(x0, step).log_var.exp()
    precision = 1 / prior.log_var.exp() + gain**2 / beta
    mean = (prior.mean / prior.log_var.exp() + gain * x_t / beta) / precision
    posterior = PROCESS.posterior(x0, x_t, step)
    torch.testing.assert_close(posterior.log_var.exp(), 1 / precision, rtol=1e-9, atol=0)
    torch.testing.assert_close(posterior.mean, mean, rtol=1e-9, atol=1e-12)


def test_noised_is_the_marginals_reparameterisation():
    x0, eps = random_pair((50, 4))
    level = SCHEDULES["cosine"](50).level(times(50, 1))
    marginal = PROCESS.marginal(x0, level)
    torch.testing.assert_close(PROCESS.noised(x0, level, eps), marginal.mean + (marginal.log_var / 2).exp() * eps)
    assert torch.equal(PROCESS.noised(x0, SCHEDULES["cosine"](50).level(torch.zeros(50, dtype=torch.int64)), eps), x0)


@pytest.mark.parametrize("T", [1, 2, 40, 4000])
def test_the_prior_term_is_the_kl_to_a_standard_normal(T):
    schedule = SCHEDULES["cosine"](T)
    x0, _ = random_pair((6, 3, 2))
    level = schedule.level(torch.full((6,), T))
    marginal = PROCESS.marginal(x0, level)
    q = Independent(Normal(marginal.mean, (marginal.log_var / 2).exp().expand_as(x0)), 2)
    p = Independent(Normal(torch.zeros_like(x0), torch.ones_like(x0)), 2)
    torch.testing.assert_close(PROCESS.prior_kl(x0, level), kl_divergence(q, p), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(
        PROCESS.prior_kl(x0.float(), level).double(), PROCESS.prior_kl(x0, level), rtol=1e-5, atol=0
    )


def test_the_prior_sample_is_standard_normal_and_the_seeds_alone():
    a, b = (PROCESS.prior_sample((4, 3, 50, 50), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b) and a.dtype == torch.float32
    assert abs(float(a.mean())) < 4 / a.numel() ** 0.5 and abs(float(a.var()) - 1) < 4 * (2 / a.numel()) ** 0.5
