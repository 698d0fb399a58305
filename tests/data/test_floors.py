import math
import time

import pytest
import torch

from difflab.data import _floors


def test_histogram_of_known_frequencies():
    train = torch.tensor([[0], [0], [0], [1]])
    test = torch.tensor([[0], [1]])
    p0, p1 = 3.5 / 5.5, 1.5 / 5.5  # three levels, half a pseudo-count each
    assert _floors.histogram(train, test, 3) == pytest.approx(-(math.log2(p0) + math.log2(p1)) / 2, rel=1e-12)


def test_an_unseen_level_costs_much_but_not_everything():
    seen = torch.zeros(1000, 1, dtype=torch.uint8)
    assert 10 < _floors.histogram(seen, torch.full((1, 1), 255), 256) < 12


def test_gaussian_is_the_density_of_torch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(400, 3, generator=generator, dtype=torch.float64) @ torch.tensor(
        [[1.0, 0.5, 0.0], [0.0, 0.3, 0.2], [0.0, 0.0, 2.0]], dtype=torch.float64
    )
    train, test = x[:300], x[300:]
    for diagonal in (False, True):
        cov = torch.cov(train.T, correction=0)
        cov = cov.diagonal().diag() if diagonal else cov
        reference = torch.distributions.MultivariateNormal(train.mean(0), cov).log_prob(test).mean()
        assert _floors.gaussian(train, test, diagonal=diagonal) == pytest.approx(-float(reference) / 3, rel=1e-6)


def test_dequantisation_in_closed_form_is_the_mean_over_uniform_noise():
    generator = torch.Generator().manual_seed(2)
    train, test = (torch.randint(4, (n, 2), generator=generator) for n in (4000, 500))
    noisy = train[None] + torch.rand(100, *train.shape, generator=generator) - 0.5
    cov = torch.cov(noisy.flatten(0, 1).T.double())
    normal = torch.distributions.MultivariateNormal(train.double().mean(0), cov)
    held_out = test[None] + torch.rand(400, *test.shape, generator=generator) - 0.5
    drawn = -float(normal.log_prob(held_out.double()).mean()) / 2
    assert _floors.gaussian(train, test, bin_width=1.0) == pytest.approx(drawn, abs=2e-3)


def test_constant_pixels_and_few_examples_do_not_break_the_covariance():
    train = torch.zeros(2, 5, dtype=torch.uint8)
    # A constant on bins of width one: uniform noise of variance 1/12, scored by the best Gaussian for it.
    assert _floors.gaussian(train, train, bin_width=1.0) == pytest.approx(
        math.log(2 * math.pi * math.e / 12) / 2, rel=1e-6
    )
    assert _floors.gaussian(torch.randn(5, 5), torch.randn(3, 5)) == math.inf  # rank 4
    assert _floors.gaussian(torch.zeros(9, 5), torch.zeros(9, 5), diagonal=True) == math.inf


def test_the_digits_reproduce_the_published_floors(make):
    start = time.perf_counter()
    floors = make("digits").floors()
    assert time.perf_counter() - start < 5  # well below a second on an idle core
    assert floors == pytest.approx({"uniform": 4.0875, "per-pixel histogram": 2.43, "Gaussian": 2.96}, abs=0.01)


def test_vectors_leave_out_a_gaussian_that_too_few_examples_fit(make):
    sizes = {"train_size": 9, "val_size": 2, "test_size": 9}
    assert set(make("gaussian", limit=3, **sizes).floors()) == {"standard normal", "independent Gaussian", "entropy"}
    assert "Gaussian" in make("gaussian", **sizes).floors()


def test_no_gaussian_floor_for_very_large_pictures(make, monkeypatch):
    monkeypatch.setattr(_floors, "MAX_DIMS", 63)
    assert set(make("digits").floors()) == {"uniform", "per-pixel histogram"}
