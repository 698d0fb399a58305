"""Importance draws of t: p from a pilot, weights that keep every term unbiased, fewer evaluations for the same error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from difflab.bound.estimate import Estimate
from difflab.bound.estimator import Examples, evaluate
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.importance import Importance
from difflab.bound.ledger import build
from difflab.errors import ConfigError
from tests.analytic import NORMAL, Mixture, cosine, diffusion_of, expected_bound, expected_terms, linear
from tests.designs import stratified

MIXTURE = Mixture(torch.tensor([0.3, 0.7]).double(), torch.tensor([-1.0, 0.6]).double(), 0.05)


def importance(times: int = 1, exact_steps: int = 0, **changes) -> Importance:
    values = {
        "examples": None, "draws": 1, "times": times, "exact_steps": exact_steps, "last_steps": 0, "uniform_mix": 0.05, "pilot_examples": 16,
        "pilot_times": 64, "target_se": None, "clip_x0": False, "seed": 3, "batch_size": 8192,
    }  # fmt: skip
    return Importance(**{**values, **changes})


def normal_examples(n: int, seed: int = 0) -> Examples:
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)).double()
    return Examples((NORMAL.mean + NORMAL.var.sqrt() * z).float(), torch.arange(n) + 10_000_000 * seed)


def mixture_examples(n: int) -> Examples:
    generator = torch.Generator().manual_seed(1)
    k = torch.multinomial(MIXTURE.weight, n, replacement=True, generator=generator)
    x = MIXTURE.mean[k] + math.sqrt(MIXTURE.var) * torch.randn(n, generator=generator).double()
    return Examples(x[:, None].float(), torch.arange(n))


def informed(design: Importance, diffusion) -> Importance:
    return design.learned(evaluate(diffusion, normal_examples(16, seed=9), design.pilot))


@pytest.mark.parametrize("T, exact, times", [(50, 0, 1), (50, 5, 3), (50, 10, 45), (1, 0, 1), (1000, 50, 50)])
def test_the_expected_weight_of_every_t_is_one(T, exact, times):
    n = 20_000
    design = importance(times, exact)
    design = design.restored({"p": [0.0, *(1 / (1 + t) for t in range(T))]})
    plan = design.plan(torch.arange(n), T)
    assert len(plan.t) == n * design.rows(T) == n * (T if exact + times >= T else exact + times)
    mean = np.bincount(plan.t.numpy(), plan.weight.numpy(), minlength=T + 1)[1:] / n
    if exact + times >= T:
        np.testing.assert_allclose(mean, 1, rtol=1e-12)
        return
    p = design.probabilities(T).numpy()
    # one draw of t has weight 1 / (times p): its variance is at most that of an independent one
    se = np.sqrt(1 / (times * p) / n)
    assert (np.abs(mean[exact:] - 1) < 5 * se).all()
    np.testing.assert_allclose(mean[:exact], 1, rtol=1e-12)


def test_p_is_the_root_of_the_pilots_second_moments_with_a_uniform_share():
    diffusion = diffusion_of(NORMAL.predict, cosine(40))
    design = importance(pilot_examples=400, pilot_times=80)
    pilot = evaluate(diffusion, normal_examples(400, seed=9), design.pilot)  # all t, 400 draws each: nothing is pooled
    p = design.learned(pilot).probabilities(40).numpy()
    nats, t = pilot.whole().column("nats"), pilot.whole().plan.t.numpy() - 1
    wanted = np.sqrt(np.bincount(t, nats**2) / np.bincount(t))
    np.testing.assert_allclose(p, 0.95 * wanted / wanted.sum() + 0.05 / 40, rtol=1e-10)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert informed(importance(), diffusion).probabilities(40).min() > 0.05 / 40 * 0.999


def test_the_pilot_sees_other_examples_and_its_p_survives_a_restart():
    design = informed(importance(), diffusion_of(NORMAL.predict, cosine(40)))
    again = importance().restored(design.state())
    a, b = design.plan(torch.arange(500), 40), again.plan(torch.arange(500), 40)
    assert torch.equal(a.t, b.t)
    assert torch.equal(a.weight, b.weight)
    assert importance().state() == {}


@pytest.mark.parametrize("times, exact", [(1, 0), (4, 3)])
def test_it_estimates_the_closed_form_bound_and_every_term_without_bias(times, exact):
    """60,000 examples of Gaussian data, against quadrature: total within 4 standard errors, rows within 4.5."""
    diffusion = diffusion_of(NORMAL.predict, linear(60))
    estimate = evaluate(diffusion, normal_examples(60_000), informed(importance(times, exact), diffusion))
    ledger = build(estimate)
    truth = expected_bound(diffusion, NORMAL.nodes()) / 2
    assert abs(ledger.totals["nats_per_dim"] - truth) < 4 * ledger.totals["nats_per_dim_se"]
    terms = expected_terms(diffusion, NORMAL.nodes()).numpy() / 2
    rows = ledger.columns
    assert (np.abs(rows["nats_per_dim"][:-1] - terms) < 4.5 * rows["nats_per_dim_se"][:-1]).all()


def test_a_term_that_outweighs_all_others_at_the_end_of_the_chain_is_found():
    """A clipped beta: an error of 0.05 in the noise is worth 1.25 nats a dimension at t = T and less than 0.05 in each of those before."""

    def predict(x, level):
        return NORMAL.predict(x, level) + 0.05 * (level.sigma / level.alpha)[:, None]

    diffusion = diffusion_of(predict, cosine(400))
    terms = expected_terms(diffusion, NORMAL.nodes()).numpy() / 2
    assert terms[-1] == pytest.approx(1.25, rel=0.02) and terms[20:-1].max() < 0.05
    truth = expected_bound(diffusion, NORMAL.nodes()) / 2
    design = informed(importance(), diffusion)
    p = design.probabilities(400).numpy()
    assert p[-1] > 0.1 and p[-3] < 0.01 * p[-1]  # drawn for what it is, and its neighbours not for it
    errors = []
    for by in (stratified(10, 10, last_steps=1), stratified(10, 10), design):
        totals = build(evaluate(diffusion, normal_examples(500), by)).totals
        assert abs(totals["nats_per_dim"] - truth) < 4 * totals["nats_per_dim_se"]
        errors.append(totals["nats_per_dim_se"])
    assert errors[0] < 0.4 * errors[1]  # 500 more evaluations to 10,000


def test_it_estimates_the_bound_of_a_mixture_without_bias():
    diffusion = diffusion_of(MIXTURE.predict, cosine(60))
    design = importance()
    design = design.learned(evaluate(diffusion, mixture_examples(40), design.pilot))
    totals = build(evaluate(diffusion, mixture_examples(60_000), design)).totals
    truth = expected_bound(diffusion, MIXTURE.nodes())
    assert abs(totals["nats_per_dim"] - truth) < 4 * totals["nats_per_dim_se"] < 0.2


def test_one_draw_an_example_beats_full_sums_at_equal_network_evaluations():
    diffusion = diffusion_of(NORMAL.predict, linear(100))
    examples = normal_examples(20_000)
    cheap = evaluate(diffusion, examples, informed(importance(), diffusion))
    full = evaluate(diffusion, examples.first(200), full_sums())
    assert cheap.nfe == full.nfe
    errors = [build(estimate).totals["nats_per_dim_se"] for estimate in (cheap, full)]
    assert errors[0] < 0.8 * errors[1]


def full_sums() -> Exhaustive:
    return Exhaustive(examples=None, draws=1, target_se=None, clip_x0=False, seed=3, batch_size=8192)


def test_more_draws_are_independent_and_split_the_error():
    diffusion = diffusion_of(NORMAL.predict, linear(60))
    estimate: Estimate = evaluate(diffusion, normal_examples(2000), informed(importance(draws=4), diffusion))
    totals = estimate.totals()
    correlation = np.corrcoef(totals.T)[np.triu_indices(4, 1)]
    between = totals.mean(1).var(ddof=1) - totals.var(1, ddof=1).mean() / 4  # what two draws of an example share
    expected = between / totals.var(0, ddof=1).mean()
    assert np.abs(correlation - expected).max() < 4.5 / math.sqrt(2000)


@pytest.mark.parametrize(
    "key, value", [("uniform_mix", 0.0), ("uniform_mix", 1.5), ("pilot_examples", 0), ("pilot_times", 1), ("times", 0)]
)
def test_impossible_values_are_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=rf"bound\.{key}={value}"):
        importance(**{key: value})
