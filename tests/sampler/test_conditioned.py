"""Samples given a part of x_0, or x_0 in noise: the posterior of Gaussian data is known, and so is the evidence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from difflab.bound.estimator import Examples
from difflab.errors import ConfigError
from difflab.sampler.conditioned import MASKS, Conditioned
from difflab.schedule.base import Level, Schedule
from tests.analytic import NORMAL, TO_ZERO, ExactVariance, Normal, constant, cosine, diffusion_of

MEAN = torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64)
COV = torch.tensor([[1.2, 0.8, 0.3], [0.8, 0.9, 0.1], [0.3, 0.1, 0.7]], dtype=torch.float64)
TRUTH = torch.tensor([[0.3, 0.9, -0.5], [-1.0, -1.2, 0.8]])
KINDS = [("left", 0.0), ("left", 0.4), ("none", 0.6)]


def correlated(x: Tensor, level: Level) -> Tensor:
    """E[x0|x_t] of N(MEAN, COV)."""
    alpha, noise = level.alpha[:, None], level.sigma.square()[:, None]
    total = alpha[:, :, None] ** 2 * COV + noise[:, :, None] * torch.eye(3, dtype=torch.float64)
    return MEAN + alpha * torch.linalg.solve(total, (x - alpha * MEAN)[:, :, None])[:, :, 0] @ COV


def conditioned(particles: int, mask: str = "left", noise: float = 0.0, truth: Tensor = TRUTH, **values) -> Conditioned:
    plain = {"steps": None, "count": 4, "clip_x0": False, "examples": len(truth), "share": 0.5} | values
    return Conditioned(**plain, particles=particles, mask=mask, noise=noise)


def bound(sampler: Conditioned, truth: Tensor = TRUTH, seed: int = 0) -> Conditioned:
    return sampler.given(Examples(truth, torch.arange(len(truth))), seed)


def posterior(sampler: Conditioned, schedule: Schedule, example: int) -> tuple[Tensor, Tensor, Tensor]:
    """(mean [3], covariance [3, 3] of x_0 given y, log p(y)): y as the module says, through the noise of x_1."""
    sigma2 = float(schedule.level(torch.tensor([1])).sigma) ** 2
    see = torch.eye(3, dtype=torch.float64)[sampler.known]
    y = sampler.seen[example][sampler.known].double()
    spread = see @ COV @ see.T + (sampler.noise**2 + 2 * sigma2) * torch.eye(len(see), dtype=torch.float64)
    gain = COV @ see.T @ torch.linalg.inv(spread)
    evidence = torch.distributions.MultivariateNormal(see @ MEAN, spread).log_prob(y)
    return MEAN + gain @ (y - see @ MEAN), COV - gain @ see @ COV, evidence


@pytest.mark.parametrize(("mask", "noise"), KINDS)
def test_a_long_chain_draws_from_the_posterior_of_gaussian_data(mask, noise):
    """Intervals of 4.5 standard errors of independent completions, and 0.03 for 48 particles and 60 steps."""
    n, schedule = 150, cosine(60)
    sampler = bound(conditioned(48, mask, noise, count=n))
    x = sampler.arranged(sampler.sample(diffusion_of(correlated, schedule), (3,), seed=0)).double().reshape(2, n, 3)
    for example in range(2):
        mean, cov, _ = posterior(sampler, schedule, example)
        free = ~sampler.known if noise == 0 else torch.ones(3, dtype=torch.bool)
        drawn = x[example][:, free]
        cov = cov[free][:, free]
        assert bool(((drawn.mean(0) - mean[free]).abs() < 4.5 * (cov.diag() / n).sqrt() + 0.03).all())
        se = ((cov.square() + cov.diag()[:, None] * cov.diag()) / n).sqrt()
        found = torch.cov(drawn.T).reshape(cov.shape)
        assert bool(((found - cov).abs() < 4.5 * se + 0.03).all())
        assert torch.equal(x[example][:, ~free], sampler.seen[example].double()[~free].expand(n, -1))


@pytest.mark.parametrize("particles", [1, 4])
@pytest.mark.parametrize(("mask", "noise"), KINDS)
def test_the_evidence_is_unbiased_for_any_number_of_particles(mask, noise, particles):
    schedule = cosine(60)
    sampler = bound(conditioned(particles, mask, noise, count=4000 // particles))
    sampler.sample(diffusion_of(correlated, schedule), (3,), seed=0)
    for example, log_estimate in enumerate(sampler.evidence.reshape(2, -1)):
        ratio = torch.exp(log_estimate - posterior(sampler, schedule, example)[2])
        # the chain's own law is the data's up to the 60 steps' discretisation
        assert abs(float(ratio.mean()) - 1) < 4.5 * float(ratio.std()) / math.sqrt(len(ratio)) + 0.02


@pytest.mark.parametrize("name", TO_ZERO)
@pytest.mark.parametrize(("mask", "noise"), [("left", 0.0), ("none", 0.5)])
def test_for_data_that_is_the_known_distribution_one_particle_is_exact(name, mask, noise):
    """Then r_t(x_t) is p(y|x_t), and every weight the same in any number of steps, the density of y, if x_T says nothing."""
    unit = Normal(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    schedule = TO_ZERO[name](25)
    truth = TRUTH[:, :2]
    sampler = bound(conditioned(1, mask, noise, truth, count=300), truth)
    x = sampler.arranged(sampler.sample(diffusion_of(unit.predict, schedule, "v", ExactVariance(unit)), (2,), seed=0))
    y = sampler.seen[:, sampler.known].double()
    # y = alpha_1 x_1 + N(0, sigma_1^2 + noise^2), whose variance is 1 + noise^2
    var = 1 + noise**2
    expected = (-0.5 * (y.square() / var + math.log(2 * math.pi * var))).sum(1)
    torch.testing.assert_close(sampler.evidence.reshape(2, -1), expected[:, None].expand(2, 300), rtol=0, atol=2e-3)
    if noise == 0:  # the hidden dimension knows nothing of the other
        assert abs(float(x[:, 0].mean())) < 4.5 / math.sqrt(600)


@pytest.mark.parametrize("T", [30, 120])
def test_without_weights_the_papers_steps_are_biased_and_a_longer_chain_does_not_help(T):
    schedule = cosine(T)
    sampler = bound(conditioned(1, count=2000))
    x = sampler.arranged(sampler.sample(diffusion_of(correlated, schedule), (3,), seed=0)).double().reshape(2, -1, 3)
    mean, _, _ = posterior(sampler, schedule, 0)
    assert abs(float(x[0, :, 0].mean() - mean[0])) > 0.25


@pytest.mark.parametrize("noise", [0.05, 30.0])
def test_one_step_is_the_product_of_two_gaussians_and_the_papers_shift_where_r_is_flat(noise):
    """Precisions add up; m + v d log r_s / dx at m is that to second order in v / u."""
    schedule = cosine(10)
    sampler = bound(conditioned(1, "none", noise, TRUTH[:, :2], count=1), TRUTH[:, :2])
    x_t = torch.tensor([[0.5, -1.0], [0.1, 0.2]], dtype=torch.float64)
    prediction = diffusion_of(NORMAL.predict, schedule)(x_t, schedule.step(torch.tensor([5, 5])))
    mean, log_var = prediction.gaussian()
    s = schedule.level(torch.tensor([4]))
    alpha, u, y = float(s.alpha), float(s.sigma) ** 2 + noise**2, sampler.seen.double()
    var = 1 / (torch.exp(-log_var) + alpha**2 / u)
    product = var * (mean * torch.exp(-log_var) + alpha * y / u)
    at_mean = sampler.reverse(prediction, torch.zeros_like(x_t))
    torch.testing.assert_close(at_mean, product, rtol=1e-9, atol=1e-9)
    away = sampler.reverse(prediction, torch.ones_like(x_t)) - at_mean
    torch.testing.assert_close(away.square(), var.expand_as(away), rtol=1e-9, atol=1e-9)
    shift = log_var.exp() * alpha * (y - alpha * mean) / u
    assert (float((mean + shift - product).abs().max()) < 1e-5) == (noise == 30.0)


def test_resampled_particles_weigh_alike_and_survive_by_weight():
    sampler = bound(conditioned(4, count=1))
    sampler.log_w = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64).log() + 3
    rows = sampler._survivors()
    assert rows[4:].tolist() == [4, 5, 6, 7]  # enough of them carry the weight
    assert sorted(rows[:4].tolist())[:2] == [0, 0] and bool((rows[:4] < 4).all())
    assert torch.equal(sampler.log_w[0], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(sampler.evidence, torch.full((2,), 3 - math.log(4), dtype=torch.float64))


@pytest.mark.parametrize(
    ("mask", "hidden"),
    [
        ("left", ["##..", "##..", "##..", "##.."]),
        ("top", ["####", "####", "....", "...."]),
        ("centre", ["....", ".##.", ".##.", "...."]),
        ("none", ["....", "....", "....", "...."]),
    ],
)
def test_what_a_mask_hides(mask, hidden):
    found = MASKS[mask](torch.rand(4, 4), 0.5)
    assert ["".join(".#"[int(value)] for value in row) for row in found] == hidden


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_random_mask_hides_its_share(share):
    hidden = MASKS["random"](torch.rand(10, 10, generator=torch.Generator().manual_seed(0)), share)
    assert int(hidden.sum()) == round(100 * share)


def test_pictures_stand_below_what_was_given_of_them():
    truth = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sampler = bound(conditioned(2, "top", truth=truth, count=5), truth)
    grid = sampler.arranged(sampler.sample(diffusion_of(constant(0.25), cosine(6)), (1, 4, 4), 0))
    assert grid.shape == (7 * 3, 1, 4, 4) and sampler.columns == 3
    rows = grid.reshape(7, 3, 1, 4, 4)
    assert torch.equal(rows[0], truth)
    assert torch.equal(rows[1:, ..., 2:, :], truth[None, ..., 2:, :].expand(6, -1, -1, -1, -1))
    assert torch.equal(rows[1, ..., :2, :], torch.zeros(3, 1, 2, 4))
    torch.testing.assert_close(rows[2:, ..., :2, :], torch.full((5, 3, 1, 2, 4), 0.25))


def test_completions_are_the_seeds_alone():
    def draw(seed: int) -> Tensor:
        sampler = bound(conditioned(3, "none", 0.5), seed=seed)
        return sampler.arranged(sampler.sample(diffusion_of(correlated, cosine(8)), (3,), seed))

    first = draw(0)
    torch.manual_seed(99)
    assert torch.equal(draw(0), first) and not torch.equal(draw(1), first)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mask": "right"}, r"sampler\.mask=right must be one of none, left"),
        ({"mask": "none"}, r"sampler\.noise=0"),
        ({"noise": -1.0}, r"sampler\.noise=-1"),
        ({"noise": math.nan}, r"sampler\.noise=nan"),
        ({"share": 1.0}, r"sampler\.share=1"),
        ({"particles": 0}, r"sampler\.particles=0"),
        ({"count": 0}, r"sampler\.count=0"),
        ({"examples": 0}, r"sampler\.examples=0"),
        ({"steps": 1}, r"sampler\.steps=1 "),
        ({"mask": "top"}, r"sampler\.mask=top hides nothing"),
        ({"mask": "random", "share": 0.9}, r"sampler\.mask=random hides all"),
        ({"examples": 9}, r"sampler\.examples=9 are more than the 2"),
    ],
)
def test_impossible_values_are_refused_by_name(values, words):
    with pytest.raises(ConfigError, match=words):
        bound(conditioned(**({"particles": 2} | values)))
