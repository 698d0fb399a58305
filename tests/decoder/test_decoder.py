"""log p(x_0|x_1): a probability on the grid, a density elsewhere, with gradients in the tails."""

from __future__ import annotations

import math

import pytest
import torch
from torch.special import log_ndtr

from difflab.decoder.discretized_gaussian import DiscretizedGaussian, log1mexp
from difflab.decoder.gaussian import Gaussian
from difflab.errors import ConfigError
from difflab.gaussian import BITS, NATS
from tests.analytic import cosine, diffusion_of, predict_at, random_pair, shrinking

LEVELS = [2, 3, 17, 256]
LOG_SD = [-20.0, -9.0, -5.0, -2.0, 0.0, 2.0]
MEANS = [-40.0, -1.3, -1.0, -0.497, 0.0, 1e-4, 0.61, 1.0, 2.0]


def grid(levels: int, dtype=torch.float64) -> torch.Tensor:
    return 2 * torch.arange(levels, dtype=dtype) / (levels - 1) - 1


def table(levels: int, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(x0, mean, log_var) for every level x mean x variance, broadcast to [levels, means, variances]."""
    mean, log_sd = torch.tensor(MEANS, dtype=dtype), torch.tensor(LOG_SD, dtype=dtype)
    return torch.broadcast_tensors(grid(levels, dtype)[:, None, None], mean[:, None], 2 * log_sd)  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("levels", LEVELS)
def test_the_probabilities_of_all_levels_sum_to_one(levels, dtype):
    x0, mean, log_var = table(levels, dtype)
    total = torch.logsumexp(DiscretizedGaussian(levels).log_prob(x0, mean, log_var).double(), 0)
    # the edge between two bins is only as sharp as the grid's rounding, in standard deviations; log p is rounded too
    unit, floor = (1e-7, 1e-6) if dtype == torch.float32 else (3e-16, 1e-13)
    slack = unit * torch.exp(-log_var[0].double() / 2) + floor
    checked = slack < 1e-3
    assert bool((total.abs() < slack)[checked].all()) and float(checked.double().mean()) > 0.6
    assert bool((total < 0.7).all())  # and even there no bin is counted twice


@pytest.mark.parametrize("levels", LEVELS)
def test_a_bins_probability_is_the_normals_mass_in_it(levels):
    """Against numerical integration of the density, wherever it varies slowly enough for the rule."""
    x0, mean, log_var = table(levels)
    half, sd = 1 / (levels - 1), (log_var / 2).exp()
    u = torch.linspace(-1, 1, 1001, dtype=torch.float64)
    steepness = ((x0 - mean).abs() + half) * half / sd**2  # nats across half a bin
    rows = (steepness < 20) & (x0.abs() < 1 - half) & (torch.arange(levels)[:, None, None] % max(levels // 16, 1) == 0)
    x, m, s = x0[rows][:, None], mean[rows][:, None], sd[rows][:, None]
    z = (x + half * u - m) / s
    log_mass = torch.logsumexp(-0.5 * z**2 + torch.log(simpson(len(u))), 1) + torch.log(half / s[:, 0])
    log_mass = log_mass - 0.5 * math.log(2 * math.pi)
    ours = DiscretizedGaussian(levels).log_prob(x0, mean, log_var)[rows]
    assert len(ours) > (10 if levels > 2 else -1)
    torch.testing.assert_close(ours, log_mass, rtol=1e-7, atol=1e-7)


def simpson(points: int) -> torch.Tensor:
    weight = torch.ones(points, dtype=torch.float64)
    weight[1:-1:2], weight[2:-1:2] = 4, 2
    return weight * (2 / (points - 1) / 3)


@pytest.mark.parametrize("levels", LEVELS)
def test_the_outer_bins_are_open(levels):
    half = 1 / (levels - 1)
    mean, log_var = torch.tensor([0.2], dtype=torch.float64), torch.tensor([-2.0], dtype=torch.float64)
    sd = math.exp(-1.0)
    decoder = DiscretizedGaussian(levels)
    bottom, top = grid(levels)[:1], grid(levels)[-1:]
    torch.testing.assert_close(decoder.log_prob(bottom, mean, log_var), log_ndtr((-1 + half - mean) / sd))
    torch.testing.assert_close(decoder.log_prob(top, mean, log_var), log_ndtr(-(1 - half - mean) / sd))


@pytest.mark.parametrize("sds", [-3.0, -400.0, 900.0])
@pytest.mark.parametrize("log_sd", [-6.0, -2.0, 0.0, 3.0])
def test_a_float32_network_gets_float64s_log_prob_and_gradients(log_sd, sds):
    results = []
    for dtype in (torch.float32, torch.float64):
        x0 = grid(256, torch.float32).to(dtype)
        mean = (x0 + sds * math.exp(log_sd)).float().to(dtype).requires_grad_()
        log_var = torch.full((256,), 2 * log_sd, dtype=dtype, requires_grad=True)
        log_p = DiscretizedGaussian(256).log_prob(x0, mean, log_var)
        assert log_p.dtype == dtype
        results.append([v.double() for v in (log_p.detach(), *torch.autograd.grad(log_p.sum(), (mean, log_var)))])
    for single, double in zip(*results, strict=True):
        torch.testing.assert_close(single, double, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sds", [-1e5, -3000.0, -50.0, 50.0, 3000.0, 1e5])
def test_gradients_are_finite_and_point_home_far_in_the_tails(sds, dtype):
    """A mean `sds` standard deviations from the observed level must still be pulled towards it."""
    x0 = grid(17, dtype)
    log_var = torch.full((17,), -6.0, dtype=dtype, requires_grad=True)
    mean = (x0 + sds * math.exp(-3.0)).requires_grad_()
    log_p = DiscretizedGaussian(17).log_prob(x0, mean, log_var)
    log_p.sum().backward()
    assert mean.grad is not None and log_var.grad is not None
    assert bool(torch.isfinite(log_p).all() and torch.isfinite(mean.grad).all() and torch.isfinite(log_var.grad).all())
    inside_open_bin = (x0 == -1) if sds < 0 else (x0 == 1)  # beyond the data range on the outer bin's own side: p = 1
    far = ~inside_open_bin
    assert bool((mean.grad[far] * sds < 0).all()) and bool((log_var.grad[far] > 0).all())
    # -d/dmean log p = (mean - nearest edge) / variance, to leading order
    edge = abs(sds) * math.exp(-3.0) - 1 / 16
    leading = edge / math.exp(-6.0)
    torch.testing.assert_close(mean.grad[far].abs(), torch.full_like(mean.grad[far], leading), rtol=0.01, atol=0)


def test_a_mean_on_the_grid_of_a_sharp_variance_is_certain():
    x0 = grid(256)
    log_p = DiscretizedGaussian(256).log_prob(x0, x0, torch.full((256,), -40.0, dtype=torch.float64))
    assert torch.equal(log_p, torch.zeros(256, dtype=torch.float64))


def test_log1mexp_against_exact_values():
    x = torch.tensor([1e-300, 1e-12, 1e-3, 0.5, 0.6931, 0.7, 3.0, 40.0, 800.0], dtype=torch.float64)
    expected = [math.log(-math.expm1(-v)) if v < 1 else math.log1p(-math.exp(-v)) for v in x.tolist()]
    torch.testing.assert_close(log1mexp(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0)


def test_the_density_is_torchs_normal():
    x0, eps = random_pair((5, 3, 2))
    one = torch.ones(5, dtype=torch.int64)
    prediction = predict_at(diffusion_of(shrinking, cosine(50)), x0, eps, one)
    mean, log_var = prediction.gaussian()
    expected = -torch.distributions.Normal(mean, (log_var / 2).exp()).log_prob(x0).flatten(1).sum(1)
    torch.testing.assert_close(Gaussian().nll(x0, prediction), expected, rtol=1e-10, atol=0)


def test_units_follow_the_kind_of_data():
    assert DiscretizedGaussian(17).unit == BITS and DiscretizedGaussian(17).clips
    assert Gaussian().unit == NATS and not Gaussian().clips


@pytest.mark.parametrize("levels", [None, 1])
def test_continuous_data_has_no_grid(levels):
    with pytest.raises(ConfigError, match="decoder=gaussian"):
        DiscretizedGaussian(levels)
