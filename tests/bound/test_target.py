"""A standard error asked for instead of a budget: reached, or said to be out of reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from difflab.bound.estimate import Estimate
from difflab.bound.estimator import Examples, evaluate
from difflab.bound.importance import Importance
from difflab.bound.ledger import build
from difflab.bound.stratified import Stratified
from difflab.bound.target import LEAST, MOST, Target
from difflab.errors import ConfigError
from tests.analytic import NORMAL, cosine, diffusion_of, expected_bound

T = 40
DIFFUSION = diffusion_of(NORMAL.predict, cosine(T))


def design(target_se: float | None, draws: int = 1, **changes) -> Stratified:
    values = {
        "examples": None, "draws": draws, "times": 2, "exact_steps": 2, "last_steps": 0, "target_se": target_se, "clip_x0": False, "seed": 3,
        "batch_size": 256,
    }  # fmt: skip
    return Stratified(**{**values, **changes})


def run(target_se: float | None, n: int = 2000, **changes) -> Estimate:
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(0)).double()
    examples = Examples((NORMAL.mean + NORMAL.var.sqrt() * z).float(), torch.arange(n))
    return evaluate(DIFFUSION, examples, design(target_se, **changes))


def test_it_stops_as_soon_as_the_target_is_reached_and_no_later_than_it_must():
    whole = build(run(None)).totals
    target = 2 * whole["nats_per_dim_se"]
    estimate = run(target)
    totals = build(estimate).totals
    assert totals["nats_per_dim_se"] <= target
    assert estimate.target.reached
    needed = 2000 * (whole["nats_per_dim_se"] / target) ** 2  # 500
    assert 0.7 * needed < estimate.examples < 1.4 * needed
    assert estimate.nfe == estimate.examples * 4 == totals["nfe"]
    assert f"{estimate.nfe:,} network evaluations" in estimate.target.sentence("nats/dim", estimate.nfe)
    assert "reached" in estimate.target.sentence("nats/dim", estimate.nfe)


def test_when_the_split_ends_more_draws_go_on_and_stay_unbiased():
    whole = build(run(None, n=400, draws=64)).totals
    between, noise = whole["nats_per_dim_se_between"], whole["nats_per_dim_se_noise"] * 8
    target = math.sqrt(between**2 + noise**2 / 6)
    estimate = run(target, n=400)
    totals = build(estimate).totals
    assert estimate.examples == 400
    assert 3 <= estimate.rounds <= 12
    assert estimate.draws == estimate.rounds
    assert totals["nats_per_dim_se"] <= target
    assert estimate.nfe == 400 * 4 * estimate.rounds
    # rounds are further draws of the same design: the same rows as draws asked for
    asked = run(None, n=400, draws=estimate.rounds)
    np.testing.assert_allclose(totals["nats_per_dim"], build(asked).totals["nats_per_dim"], rtol=1e-6)
    np.testing.assert_allclose(
        build(estimate).columns["nats_per_dim_se"], build(asked).columns["nats_per_dim_se"], rtol=1e-6
    )


def test_a_target_below_the_spread_of_the_examples_is_given_up_early():
    whole = build(run(None, n=400, draws=64)).totals
    estimate = run(0.3 * whole["nats_per_dim_se_between"], n=400)
    assert not estimate.target.reached
    assert estimate.rounds <= 2
    assert len(estimate.rows) == 400 * 4 * estimate.rounds
    assert 400 * 4 < estimate.nfe == build(estimate).totals["nfe"] <= 400 * 4 * 2  # what was evaluated in vain counts
    sentence = estimate.target.sentence("nats/dim", estimate.nfe)
    assert "cannot be reached" in sentence
    assert 0.4 < estimate.target.floor / whole["nats_per_dim_se_between"] < 1.6


def test_the_floor_is_the_part_of_the_error_that_the_examples_alone_leave():
    """Examples N(0, 2^2), draws around them N(0, 3^2): 2 / sqrt(n), whatever the rounds; within 4%."""
    rng = np.random.default_rng(0)
    examples, target = rng.normal(0, 2, 20_000), Target(1.0, draws=1)
    assert math.isnan(target_with(target, examples, rng, 1).floor)
    for _ in range(2):
        assert target_with(target, examples, rng, 1).floor * math.sqrt(20_000) == pytest.approx(2, rel=0.04)


def target_with(target: Target, examples: np.ndarray, rng: np.random.Generator, rounds: int) -> Target:
    for _ in range(rounds):
        target.add(len(target._rounds), examples + rng.normal(0, 3, len(examples)))
    return target


def test_a_few_examples_are_not_believed():
    estimate = run(10.0, n=20)
    assert estimate.examples == 20
    assert not estimate.target.reached
    assert "too few" in estimate.target.sentence("nats/dim", estimate.nfe)
    assert run(10.0).examples >= LEAST


def test_progress_expects_what_the_target_will_take():
    seen: list[tuple[int, int]] = []
    z = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)).double()
    examples = Examples((NORMAL.mean + NORMAL.var.sqrt() * z).float(), torch.arange(2000))
    target = 2 * build(run(None)).totals["nats_per_dim_se"]
    evaluate(DIFFUSION, examples, design(target), on_batch=lambda done, total: seen.append((done, total)))
    assert all(done <= total for done, total in seen)
    assert seen[-3][1] == pytest.approx(seen[-1][0], rel=0.25)


def test_stopping_does_not_bias_the_bound():
    """300 evaluations that stop by themselves: their mean is the closed form within 4 standard errors."""
    truth = expected_bound(DIFFUSION, NORMAL.nodes()) / 2
    z = torch.randn(300, 600, 2, generator=torch.Generator().manual_seed(1)).double()
    values = []
    by = Importance(
        examples=None, draws=1, times=1, exact_steps=0, last_steps=0, uniform_mix=0.05, pilot_examples=8, pilot_times=40, target_se=0.35,
        clip_x0=False, seed=3, batch_size=64,
    )  # fmt: skip
    by = by.learned(run(None, n=50, times=38))
    for i, x in enumerate(z):
        examples = Examples((NORMAL.mean + NORMAL.var.sqrt() * x).float(), torch.arange(600) + 1000 * i)
        values.append(build(evaluate(DIFFUSION, examples, by)).totals["nats_per_dim"])
    assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / math.sqrt(300)


def test_a_target_reads_its_error_from_the_examples():
    rng = np.random.default_rng(0)
    target = Target(0.05, draws=1)
    x = rng.normal(1, 1, 300)
    target.add(0, x)
    assert target.reached_se == pytest.approx(x.std(ddof=1) / math.sqrt(300))
    assert target.expected == pytest.approx(300 * (target.reached_se / 0.05) ** 2, abs=1)


@pytest.mark.parametrize("value", [0.0, -0.1])
def test_a_target_must_be_positive(value):
    with pytest.raises(ConfigError, match=rf"bound\.target_se={value}"):
        design(value)


def test_intervals_hold_the_truth_after_stopping_by_themselves():
    """600 evaluations of disjoint examples, each stopped at its target (about 600 examples): 93 to 97% hold it."""
    truth = expected_bound(DIFFUSION, NORMAL.nodes()) / 2
    n, held = 1500, 0
    z = torch.randn(600, n, 2, generator=torch.Generator().manual_seed(6)).double()
    target = build(run(None, n=2000)).totals["nats_per_dim_se"] * math.sqrt(2000 / 600)
    for i, x in enumerate(z):
        examples = Examples((NORMAL.mean + NORMAL.var.sqrt() * x).float(), torch.arange(n) + n * i)
        totals = build(evaluate(DIFFUSION, examples, design(target, batch_size=4096))).totals
        held += abs(totals["nats_per_dim"] - truth) < 1.96 * totals["nats_per_dim_se"]
    assert 0.93 <= held / 600 <= 0.97


def test_a_target_that_only_just_cannot_be_reached_ends_after_some_rounds():
    rng = np.random.default_rng(0)
    examples = rng.normal(0, 1, 400)
    target = Target(0.999 * examples.std(ddof=1) / 20, draws=1)
    for number in range(10_000):
        target.add(number, examples + rng.normal(0, 0.2, 400))
        if target.ended(whole=True):
            break
    assert target.rounds <= MOST
    assert not target.reached
    assert "given up" in target.sentence("bits/dim", 1) or "cannot be reached" in target.sentence("bits/dim", 1)


def test_a_target_that_can_be_reached_is_seldom_given_up():
    """Floor at 0.8 of the target, noise three times the spread of the examples: 20 rounds, and nearly all of 200 tries."""
    rng, reached = np.random.default_rng(1), 0
    for _ in range(200):
        examples = rng.normal(0, 0.3, 400)
        target = Target(0.3 / 20 / 0.8, draws=1)
        for number in range(10_000):
            target.add(number, examples + rng.normal(0, 1, 400))
            if target.ended(whole=True):
                break
        reached += target.reached
    assert reached >= 190
