"""The comparison of distances holds what it promises: exchangeable splits, and a planted leak or shift."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch

from difflab.card.coverage import coverage, interval, ks, ks_p
from tests.card.conftest import draws, noise, planted


def of_test(inspect, **x: torch.Tensor) -> dict:
    return inspect(planted(levels=None, **x)).card["coverage"]["test"]


def test_exchangeable_splits_are_covered_at_the_stated_rate(inspect) -> None:
    """Probes and held-out examples of about one number, so that forgetting the scatter of either shows."""
    shares, inside, alarms, runs = [], 0, 0, 1000
    for seed in range(runs):
        x = draws(260, seed, 2)
        got = of_test(inspect, train=x[:160], val=x[160:162], test=x[162:])
        shares.append(got["share_nearer"])
        inside += got["share_nearer_low"] <= 0.5 <= got["share_nearer_high"]
        alarms += got["p"] < 0.05
    assert abs(np.mean(shares) - 0.5) < 3 * np.std(shares) / runs**0.5
    assert 0.93 <= inside / runs <= 0.97
    assert 0.02 <= alarms / runs <= 0.07  # a discrete statistic: at most 5% up to chance


def test_distances_are_to_training_examples_that_were_left_in(inspect) -> None:
    x = draws(120, 0)
    material = inspect(planted(levels=None, train=x[:60], val=x[60:90], test=x[90:]))
    probes = np.random.RandomState(0).permutation(60)[:15]
    left = np.setdiff1d(np.arange(60), probes)
    for name, of in (("train", x[probes]), ("val", x[60:90]), ("test", x[90:])):
        distance = torch.cdist(of.double(), x[left].double()).min(1).values / 3**0.5
        # held-out examples are drawn in an order of their own
        torch.testing.assert_close(torch.from_numpy(material.distances[name]).sort().values, distance.sort().values)


def test_grey_pictures_with_ties_are_covered_too(inspect) -> None:
    inside = 0
    for seed in range(200):
        x = noise(300, seed, (1, 2, 2)) // 64
        data = planted(levels=4, train=x[:160], val=x[160:200], test=x[200:])
        got = inspect(data, near=0.0).card["coverage"]["test"]
        inside += got["share_nearer_low"] <= 0.5 <= got["share_nearer_high"]
    assert 180 <= inside <= 199


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_is_nearer_and_a_shift_farther(inspect, seed: int) -> None:
    x = draws(900, seed)
    train, val, test = x[:600], x[600:650], x[650:]
    leak = torch.cat([test[:150], train[:100] + 0.01 * draws(100, seed + 50)])
    got = of_test(inspect, train=train, val=val, test=leak)
    assert got["share_nearer_low"] > 0.5 and got["p"] < 1e-3
    got = of_test(inspect, train=train, val=val, test=test + torch.tensor([3.0, 0, 0]))
    assert got["share_nearer_high"] < 0.5 and got["p"] < 1e-3


def test_classes_are_judged_apart(inspect) -> None:
    x = draws(1300, 3)
    label = torch.arange(1300) % 2
    x[label == 1] += 20
    x[1000:][label[1000:] == 1] += torch.tensor([3.0, 0, 0])  # one class of the test split moves
    labels = {"train": label[:900], "val": label[900:1000], "test": label[1000:]}
    got = inspect(planted(levels=None, train=x[:900], val=x[900:1000], test=x[1000:], labels=labels)).card
    own = got["coverage"]["test"]["classes"]
    assert own["0"]["share_nearer_low"] < 0.5 < own["0"]["share_nearer_high"] and own["1"]["share_nearer_high"] < 0.2
    assert own["0"]["same_label"] == own["1"]["same_label"] == 1


def test_statistics_are_those_of_all_pairs_and_all_steps() -> None:
    generator = np.random.RandomState(0)
    a, b = generator.standard_normal(300), generator.standard_normal(200) + 0.2
    for x, y in ((a, b), (a.round(1), b.round(1))):
        pairs = x[:, None] - y
        assert coverage(x, y)["share_nearer"] == pytest.approx(np.mean(pairs < 0) + np.mean(pairs == 0) / 2)
        at = np.concatenate([x, y])[:, None]
        assert ks(x, y) == pytest.approx(np.abs((x <= at).mean(1) - (y <= at).mean(1)).max(), abs=1e-12)
    assert ks(a, a) == 0 and ks_p(0.0, 100) == 1 and ks(a, a + 100) == 1


@pytest.mark.parametrize("p, quantile", [(0.1, 1.2238), (0.05, 1.3581), (0.01, 1.6276)])
def test_kolmogorov_s_law(p: float, quantile: float) -> None:
    assert ks_p(quantile / 1000, 1e6) == pytest.approx(p, rel=2e-3)


@pytest.mark.parametrize("shift", [-2.0, -0.7, 0.0, 1.5])
def test_intervals_hold_the_true_share_where_it_is_not_half(shift: float) -> None:
    generator, inside = np.random.RandomState(0), 0
    truth = 1 - NormalDist().cdf(shift / 2**0.5)
    for _ in range(1000):
        got = coverage(generator.standard_normal(60) + shift, generator.standard_normal(40))
        inside += got["share_nearer_low"] <= truth <= got["share_nearer_high"]
    assert 925 <= inside <= 985


def test_an_interval_ends_where_its_own_deviation_does() -> None:
    low, high = interval(0.5, 1000, 1000)
    assert (
        high - 0.5 == pytest.approx(0.5 - low, abs=1e-9) == pytest.approx(1.96 * (2001 / 12 / 1000**2) ** 0.5, rel=5e-3)
    )
    assert interval(1.0, 50, 50)[1] == 1 and interval(1.0, 50, 50)[0] < 0.97 and interval(0.0, 50, 50)[0] == 0


def test_few_examples_have_wide_intervals() -> None:
    got = coverage(np.array([1.0]), np.array([2.0]))
    assert got["share_nearer"] == 1 and got["share_nearer_low"] < 0.25 and got["p"] > 0.2
