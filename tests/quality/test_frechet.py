"""The distance of two Gaussians in closed form, without its bias, with errors that are those of repeated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from difflab.quality.frechet import distance, frechet
from difflab.quality.jackknife import jackknife


def draws(n: int, dims: int, seed: int, mean: float = 0.0, deviation: float = 1.0) -> Tensor:
    x = torch.randn(n, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return mean + deviation * x


def with_moments(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """The same points moved to have exactly these."""
    x = x - x.mean(0)
    return x @ torch.linalg.cholesky(torch.linalg.inv(torch.cov(x.T))) @ torch.linalg.cholesky(covariance).T + mean


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_gaussians_that_commute_have_a_closed_form(offset: float) -> None:
    a, b = torch.tensor([0.5, 1.0, 4.0]).double(), torch.tensor([2.0, 1.0, 0.25]).double()
    shift = torch.tensor([1.0, -2.0, 0.5]).double()
    rotation = torch.linalg.qr(draws(3, 3, 5)).Q
    x = with_moments(draws(50, 3, 0), shift + offset, torch.diag(a)) @ rotation
    y = with_moments(draws(70, 3, 1), torch.full((3,), offset).double(), torch.diag(b)) @ rotation
    assert distance(x, y) == pytest.approx(float(shift.square().sum() + (a.sqrt() - b.sqrt()).square().sum()), rel=1e-9)
    assert distance(y, x) == pytest.approx(distance(x, y), rel=1e-9)


def test_gaussians_that_do_not_commute_have_the_trace_of_a_symmetric_root() -> None:
    roots = [draws(4, 4, seed) for seed in (1, 2)]
    A, B = (root @ root.T + torch.eye(4) for root in roots)
    zero = torch.zeros(4).double()
    values, vectors = torch.linalg.eigh(A)
    half = vectors @ torch.diag(values.sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(half @ B @ half).sqrt().sum()
    found = distance(with_moments(draws(60, 4, 3), zero, A), with_moments(draws(60, 4, 4), zero, B))
    assert found == pytest.approx(float(torch.trace(A) + torch.trace(B) - 2 * cross), rel=1e-9)


def test_of_a_set_and_itself_it_is_zero_and_the_order_is_nothing() -> None:
    x, y = draws(60, 3, 0), draws(40, 3, 1, mean=0.3)
    assert distance(x, x) == pytest.approx(0, abs=1e-6)
    assert distance(x.flip(0), y.roll(7, 0)) == pytest.approx(distance(x, y), rel=1e-9)
    assert frechet(x, y, 5) == frechet(x, y, 5)


def test_its_bias_is_removed_and_its_error_is_that_of_repeated_draws() -> None:
    """At its floor and away from it: truth 0 and 4 * 0.25^2."""
    for mean in (0.0, 0.25):
        found = [frechet(draws(200, 4, 10 + i, mean), draws(150, 4, 1000 + i), 8) for i in range(20)]
        truth, spread = 4 * mean**2, float(np.std([e.corrected for e in found], ddof=1))
        if mean == 0:  # the bias is there, and nothing else
            assert np.mean([e.value for e in found]) > 4 * spread / math.sqrt(20)
        assert abs(np.mean([e.corrected for e in found]) - truth) < 3 * spread / math.sqrt(20)
        assert 0.6 < np.sqrt(np.mean([e.se**2 for e in found])) / spread < 1.6


def test_a_jackknife_knows_a_mean_and_a_square_in_closed_form() -> None:
    """Of a mean: its own standard error and no bias, with no part of second order; of its square: E[mean^2] - sd^2/n."""
    x = np.array([0.3, -1.0, 2.0, 0.7, 1.1, -0.4])
    n, se = len(x), x.std(ddof=1) / math.sqrt(len(x))
    pairs = [(g, h) for g in range(n) for h in range(g)]
    mean = jackknife(
        x.mean(), [np.delete(x, g).mean() for g in range(n)], [(g, h, np.delete(x, [g, h]).mean()) for g, h in pairs]
    )
    assert (mean.se, mean.corrected) == (pytest.approx(se), pytest.approx(x.mean()))
    square = jackknife(x.mean() ** 2, [np.delete(x, g).mean() ** 2 for g in range(n)])
    assert square.corrected == pytest.approx(x.mean() ** 2 - se**2)


def test_the_part_of_second_order_is_counted_once() -> None:
    """F = mean^2 of draws of mean 0 has variance 2 / n^2; leaving out one at a time finds about twice as much."""
    n, once, twice = 20, [], []
    generator = np.random.RandomState(0)
    for _ in range(400):
        x = generator.randn(n)
        without = [np.delete(x, g).mean() ** 2 for g in range(n)]
        pairs = [(g, h, np.delete(x, [g, h]).mean() ** 2) for g in range(n) for h in range(g)]
        once.append(jackknife(x.mean() ** 2, without, pairs).se ** 2)
        twice.append(jackknife(x.mean() ** 2, without).se ** 2)
    truth = 2 / n**2
    assert np.mean(twice) > 1.7 * truth
    assert np.mean(once) == pytest.approx(truth, rel=0.35)


def test_a_share_of_all_or_none_is_not_certain() -> None:
    for value in (0.0, 1.0):
        assert 0 < jackknife(value, [value] * 5, proportion_of=100).se < 0.05
    assert jackknife(1.0, [1.0] * 5).se == 0
