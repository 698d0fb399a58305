"""Draws, densities and entropies of the vectors agree with each other and with figures from elsewhere."""

import math

import pytest
import torch

from difflab.data.base import white
from difflab.errors import ConfigError

NAMES = ["gaussian", "gaussian_mixture", "swiss_roll"]


@pytest.mark.parametrize("name", NAMES)
def test_entropy_is_the_mean_code_length_of_the_draws(make, name):
    data = make(name)
    nats = -data.log_density(data.train.x)
    error = float(nats.std()) / math.sqrt(len(nats))
    assert abs(float(nats.mean()) - data.entropy) < 4 * math.hypot(error, data.entropy_se)
    assert data.entropy_se < 2e-3
    assert data.floors()["entropy"] == data.entropy / data.dims


@pytest.mark.parametrize("name", NAMES)
def test_the_density_integrates_to_one(make, name):
    data = make(name, **({"dims": 2} if name != "swiss_roll" else {"noise": 0.2}))
    at = torch.linspace(-7, 7, 281, dtype=torch.float64)
    grid = torch.cartesian_prod(at, at)
    assert float(data.log_density(grid).exp().sum()) * 0.05**2 == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_about_unit_scale_and_fixed(make, name):
    data, again = make(name), make(name)
    assert data.levels is None and data.shape == (data.dims,) and data.train.x.dtype == torch.float32
    assert data.sha256 == again.sha256
    assert data.null == white("point", data.dims, 1.0) and float(data.train.x.var(0).mean()) == pytest.approx(
        1, abs=0.03
    )
    assert torch.equal(data.to_unit(data.train.x), data.train.x)
    assert make(name, draw_seed=1).sha256["test"] != data.sha256["test"]


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_training_set_continues_the_shorter_and_leaves_the_test_alone(make, name):
    short, long = make(name, train_size=10), make(name, train_size=30)
    assert torch.equal(short.train.x, long.train.x[:10])
    assert short.sha256["test"] == long.sha256["test"] and short.sha256["train"] != long.sha256["train"]
    every = torch.cat([long.train.index, long.val.index, long.test.index])
    assert len(every.unique()) == len(every)


@pytest.mark.parametrize("name", NAMES)
def test_floors_are_ordered(make, name):
    floors = make(name).floors()
    assert floors["entropy"] < floors["Gaussian"] + 0.01 < floors["independent Gaussian"] + 0.02
    assert floors["independent Gaussian"] < floors["standard normal"] + 0.01


def test_gaussian_is_torchs(make):
    data = make("gaussian", dims=5, condition=50.0, offset=2.0)
    normal = torch.distributions.MultivariateNormal(data.mean, data.cov)
    torch.testing.assert_close(data.log_density(data.test.x), normal.log_prob(data.test.x.double()))
    assert data.entropy == pytest.approx(float(normal.entropy()), rel=1e-12)
    spectrum = torch.linalg.eigvalsh(data.cov)
    assert float(spectrum[-1] / spectrum[0]) == pytest.approx(50)
    assert float(data.cov.trace()) == pytest.approx(5)
    torch.testing.assert_close(torch.cov(data.train.x.double().T), data.cov, rtol=0, atol=0.06)
    torch.testing.assert_close(data.train.x.double().mean(0), data.mean, rtol=0, atol=0.05)


def test_mixture_is_torchs_and_labels_are_its_components(make):
    data = make("gaussian_mixture", dims=3, components=4)
    D = torch.distributions
    reference = D.MixtureSameFamily(D.Categorical(data.weights), D.MultivariateNormal(data.means, data.covs))
    torch.testing.assert_close(data.log_density(data.test.x), reference.log_prob(data.test.x.double()))
    x, k = data.train.x.double(), data.train.label
    torch.testing.assert_close(torch.bincount(k) / len(k), data.weights.float(), rtol=0, atol=0.015)
    for i in range(4):
        torch.testing.assert_close(x[k == i].mean(0), data.means[i], rtol=0, atol=0.05)
        torch.testing.assert_close(torch.cov(x[k == i].T), data.covs[i], rtol=0, atol=0.05)


def test_mixture_entropy_by_quadrature(make):
    data = make("gaussian_mixture")
    at = torch.linspace(-6, 6, 801, dtype=torch.float64)
    log_p = data.log_density(torch.cartesian_prod(at, at))
    exact = -float((log_p.exp() * log_p).sum()) * 0.015**2
    assert 0 < data.entropy_se < 1e-3 and abs(data.entropy - exact) < 4 * data.entropy_se


@pytest.mark.parametrize("components, dims", [(1, 1), (1, 3), (64, 2), (2, 8)])
def test_mixtures_of_any_size_are_densities(make, components, dims):
    data = make("gaussian_mixture", components=components, dims=dims, train_size=20)
    assert torch.isfinite(data.train.x).all() and torch.isfinite(data.log_density(data.train.x)).all()
    if components == 1:
        assert data.entropy_se < 1e-12
        assert data.entropy == pytest.approx(
            float(torch.distributions.MultivariateNormal(data.means[0], data.covs[0]).entropy())
        )


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.05, 0.5])
def test_swiss_roll_has_the_papers_null_likelihood_and_noise(make, noise):
    data = make("swiss_roll", noise=noise)
    # Any noise: data of average variance 1 cost log2(2 pi e) = 4.094 bits a point under N(0, I) (Sohl-Dickstein 2015).
    assert 2 * data.floors()["standard normal"] / math.log(2) == pytest.approx(4.094, abs=0.03)
    # Narrow noise: bits of the arc and of one Gaussian across it.
    if noise <= 0.01:
        a = torch.linspace(1.5 * math.pi, 4.5 * math.pi, 20001, dtype=torch.float64)
        along = float((data._scale * (1 + a**2).sqrt() * 3 * math.pi).log().mean())
        assert data.entropy == pytest.approx(along + math.log(2 * math.pi * math.e * noise**2) / 2, abs=5e-3)


@pytest.mark.parametrize(("noise", "spacing", "reach"), [(0.2, 0.05, 4), (0.06, 0.025, 2.8)])
def test_swiss_roll_quadrature_has_converged(make, noise, spacing, reach):
    data = make("swiss_roll", noise=noise, train_size=10)
    at = torch.arange(-reach, reach, spacing, dtype=torch.float64)
    log_p = data.log_density(torch.cartesian_prod(at, at))
    assert data.entropy == pytest.approx(-float((log_p.exp() * log_p).sum()) * spacing**2, abs=1e-7)


@pytest.mark.parametrize(
    "name, key, value",
    [
        ("gaussian", "dims", 0), ("gaussian", "condition", 0.5), ("gaussian", "offset", 1e9),
        ("gaussian", "draw_seed", -1),
        ("gaussian", "train_size", 0), ("gaussian_mixture", "dims", 0), ("gaussian_mixture", "components", 0),
        ("gaussian_mixture", "spread", 0.0), ("gaussian_mixture", "test_size", -5), ("swiss_roll", "noise", 0.0),
        ("swiss_roll", "noise", 0.9), ("swiss_roll", "val_size", 0), ("swiss_roll", "limit", 10**6),
        ("gaussian", "offset", math.nan), ("swiss_roll", "noise", math.nan), ("gaussian", "condition", math.nan),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named(make, name, key, value):
    with pytest.raises(ConfigError, match=rf"data\.{key}={value}"):
        make(name, **{key: value})
