"""Timestep samplers: the right marginals, and weights that keep every gradient unbiased."""

from __future__ import annotations

import pytest
import torch

from difflab.errors import ConfigError
from difflab.timestep.importance import Importance
from difflab.timestep.stratified import Stratified
from difflab.timestep.uniform import Uniform
from tests.analytic import cosine

T = 20


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def importance(history: int = 3, uniform_mix: float = 0.01, filled: bool = True) -> Importance:
    sampler = Importance(cosine(T), history=history, uniform_mix=uniform_mix)
    if filled:
        for k in range(history):
            t = torch.arange(1, T + 1)
            sampler.observe(t, (1 + k) / t.double())
    return sampler


def chi2(count: torch.Tensor, p: torch.Tensor) -> float:
    expected = count.sum() * p
    return float(((count - expected) ** 2 / expected).sum())


LIMIT = 43.8  # 0.999 quantile of chi-squared with T - 1 = 19 degrees of freedom


@pytest.mark.parametrize("kind", [Uniform, Stratified])
def test_every_t_has_probability_one_over_T(kind):
    sampler, source = kind(cosine(T)), generator()
    batch = 7 if kind is Stratified else 1000
    draws = [sampler.sample(batch, source) for _ in range(3000 if kind is Stratified else 20)]
    # one t of each stratified batch: rows of a batch are dependent, a fixed row over batches is not
    t = torch.cat([d.t[:1] if kind is Stratified else d.t for d in draws])
    assert int(t.min()) == 1 and int(t.max()) == T
    assert chi2(torch.bincount(t, minlength=T + 1)[1:].double(), torch.full((T,), 1 / T)) < LIMIT
    assert all(torch.equal(d.iw, torch.ones(batch, dtype=torch.float64)) for d in draws[:3])


@pytest.mark.parametrize("batch", [1, 7, 20, 50, 128])
def test_a_stratified_batch_covers_the_chain_evenly(batch):
    sampler, source = Stratified(cosine(T)), generator(1)
    for _ in range(200):
        count = torch.bincount(sampler.sample(batch, source).t, minlength=T + 1)[1:]
        assert int(count.min()) >= batch // T and int(count.max()) <= -(-batch // T)


def test_a_stratified_batch_is_in_no_order():
    t = Stratified(cosine(1000)).sample(128, generator()).t.double()
    rank = torch.arange(128).double()
    assert abs(float(torch.corrcoef(torch.stack([t, rank]))[0, 1])) < 4 / 128**0.5


def test_importance_is_uniform_until_every_t_has_a_full_history():
    sampler = importance(filled=False)
    for k in range(3):
        sampler.observe(torch.arange(1, T + 1), torch.arange(1.0, T + 1))
        if k < 2:
            assert torch.equal(sampler.probabilities, torch.full((T,), 1 / T, dtype=torch.float64))
    assert float(sampler.probabilities.max()) > 1.5 / T
    sampler = importance(filled=False)
    for _ in range(9):
        sampler.observe(torch.arange(1, T), torch.rand(T - 1))  # t = T never seen
    assert torch.equal(sampler.probabilities, torch.full((T,), 1 / T, dtype=torch.float64))


def test_importance_is_the_root_mean_square_of_the_last_losses_mixed_with_uniform():
    sampler = importance(history=3, uniform_mix=0.1)
    for value in (9.0, 2.0):  # pushes out the two oldest losses of t = 5: 1/5 and 2/5
        sampler.observe(torch.tensor([5]), torch.tensor([value]))
    t = torch.arange(1, T + 1).double()
    second_moment = torch.stack([1 / t, 2 / t, 3 / t]).square().mean(0)
    second_moment[4] = (81 + 4 + (3 / 5) ** 2) / 3
    p = second_moment.sqrt() / second_moment.sqrt().sum()
    torch.testing.assert_close(sampler.probabilities, 0.9 * p + 0.1 / T, rtol=1e-12, atol=0)


def test_importance_draws_with_its_probabilities_and_says_their_weight():
    sampler = importance()
    t, iw = sampler.sample(50_000, generator(2))
    p = sampler.probabilities
    assert chi2(torch.bincount(t, minlength=T + 1)[1:].double(), p) < LIMIT
    torch.testing.assert_close(iw, 1 / (T * p[t - 1]), rtol=1e-12, atol=0)


def test_the_importance_weight_makes_any_sum_over_t_unbiased():
    sampler = importance()
    f = torch.sin(torch.arange(T + 1.0, dtype=torch.float64)) + 2
    p = sampler.probabilities
    assert float((p * f[1:] / (T * p)).sum()) == pytest.approx(float(f[1:].mean()), rel=1e-12)  # in expectation
    t, iw = sampler.sample(50_000, generator(3))
    values = iw * f[t]
    assert abs(float(values.mean() - f[1:].mean())) < 4 * float(values.std()) / 50_000**0.5  # 4 standard errors


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_not_observed(bad):
    sampler = importance()
    before = sampler.probabilities
    sampler.observe(torch.tensor([3, 4]), torch.tensor([bad, bad]))
    assert torch.equal(sampler.probabilities, before)


def test_all_zero_losses_fall_back_to_uniform():
    sampler = importance(filled=False)
    for _ in range(3):
        sampler.observe(torch.arange(1, T + 1), torch.zeros(T))
    assert torch.equal(sampler.probabilities, torch.full((T,), 1 / T, dtype=torch.float64))


def test_importance_goes_on_from_its_state():
    sampler, fresh = importance(), importance(filled=False)
    sampler.observe(torch.tensor([5]), torch.tensor([7.0]))
    fresh.load_state_dict({k: v.clone() for k, v in sampler.state_dict().items()})
    for each in (sampler, fresh):
        each.observe(torch.tensor([5, 5]), torch.tensor([8.0, 9.0]))
    assert torch.equal(sampler.probabilities, fresh.probabilities)
    a, b = sampler.sample(50, generator(4)), fresh.sample(50, generator(4))
    assert torch.equal(a.t, b.t) and torch.equal(a.iw, b.iw)


@pytest.mark.parametrize("values", [{"history": 0}, {"uniform_mix": 0.0}, {"uniform_mix": 1.5}])
def test_impossible_values_are_refused_by_name(values):
    ((key, value),) = values.items()
    with pytest.raises(ConfigError, match=f"timestep.{key}={value}"):
        importance(filled=False, **values)


@pytest.mark.parametrize("kind", [Uniform, Stratified])
def test_a_chain_of_one_step_has_one_time(kind):
    assert torch.equal(kind(cosine(1)).sample(5, generator()).t, torch.ones(5, dtype=torch.int64))
