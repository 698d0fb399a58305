"""The decoder with a variance of its own: fixed_beta's at the beginning, the best there is at the end."""

from __future__ import annotations

import math

import pytest
import torch

from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.decoder.gaussian import Gaussian
from difflab.decoder.learned_gaussian import LearnedGaussian
from difflab.errors import ConfigError
from difflab.gaussian import BITS, NATS
from difflab.objective.hybrid import Hybrid
from difflab.objective.simple import Simple
from difflab.objective.vlb import Vlb
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from tests.analytic import cosine, diffusion_of, predict_at, random_pair, shrinking

T, SHAPE = 12, (3, 2, 2)
FIRST = torch.ones(50, dtype=torch.int64)


def decoder_of(levels: int | None, per_channel: bool = False, speed: float = 30.0) -> LearnedGaussian:
    return LearnedGaussian(levels, SHAPE, cosine(T), per_channel=per_channel, speed=speed)


def at_first(decoder, variance=None, levels: int | None = None):
    """(prediction at t = 1, x0)"""
    x0, eps = random_pair((50, *SHAPE))
    if levels:
        x0 = 2 * ((x0 + 1) / 2 * (levels - 1)).round() / (levels - 1) - 1
    diffusion = diffusion_of(shrinking, cosine(T), variance=variance, decoder=decoder)
    return predict_at(diffusion, x0, eps, FIRST), x0


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("levels", [None, 2, 17])
def test_it_begins_as_fixed_beta_and_reads_no_variance(levels, per_channel):
    ours, fixed = decoder_of(levels, per_channel), Gaussian() if levels is None else DiscretizedGaussian(levels)
    prediction, x0 = at_first(ours, FixedBeta(ddpm_t1=False), levels)
    torch.testing.assert_close(ours.nll(x0, prediction), fixed.nll(x0, prediction), rtol=1e-4, atol=1e-6)  # float32
    assert torch.equal(ours.nll(x0, prediction), ours.nll(x0, prediction.with_variance(FixedBetaTilde())))
    assert (ours.clips, ours.unit) == (levels is not None, NATS if levels is None else BITS)
    assert torch.equal(ours.shown(prediction, prediction.x_t), prediction.mean())


def test_its_gradient_vanishes_where_the_variance_is_the_mean_squared_error():
    """d/d log v of 1/2 [log v + e^2 / v] = 1/2 (1 - e^2 / v), of each channel apart."""
    ours = decoder_of(None, per_channel=True)
    prediction, x0 = at_first(ours)
    square = (x0 - prediction.mean()).square().mean((0, 2, 3))
    slope = 4 * 0.5 * (1 - square / ours.log_var.detach().flatten().exp())  # each channel has 2 x 2 pixels
    ours.nll(x0, prediction).mean().backward()
    torch.testing.assert_close(ours.rate.grad.double(), slope, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        ours.rate.copy_(square.log() / 30)
    ours.rate.grad = None
    ours.nll(x0, prediction).mean().backward()
    assert float(ours.rate.grad.abs().max()) < 1e-4  # float32


@pytest.mark.parametrize("levels", [None, 17])
def test_adam_finds_the_best_variance(levels):
    """A grid search cannot do better; `speed` times the learning rate of a weight."""
    ours, fixed = decoder_of(levels), Gaussian() if levels is None else DiscretizedGaussian(levels)
    prediction, x0 = at_first(ours, levels=levels)
    optimizer = torch.optim.Adam(ours.parameters(), lr=2e-3)
    for step in range(80):
        optimizer.zero_grad()
        ours.nll(x0, prediction).mean().backward()
        before = float(ours.log_var.detach())
        optimizer.step()
        if not step:
            assert abs(float(ours.log_var.detach()) - before) == pytest.approx(30 * 2e-3, rel=1e-3)
    mean, log_var = prediction.mean(), torch.linspace(-14, 4, 400, dtype=torch.float64)
    least = min(float(-fixed.log_prob(x0, mean, v).flatten(1).sum(1).mean()) for v in log_var)
    assert float(ours.nll(x0, prediction).mean()) < least + 0.01 * math.prod(SHAPE)


def test_the_bound_teaches_it_and_an_objective_without_the_bound_is_refused():
    decoder = decoder_of(17)
    prediction, x0 = at_first(decoder, FixedBeta(ddpm_t1=False), 17)
    for objective in (Vlb(decoder, cosine(T)), Hybrid(decoder, cosine(T), vlb_weight=0.001)):
        decoder.rate.grad = None
        objective(prediction, x0, torch.zeros_like(x0)).loss.mean().backward()
        assert float(decoder.rate.grad.abs()) > 0
    with pytest.raises(ConfigError, match="objective=hybrid"):
        Simple(decoder, cosine(T), FixedBeta(ddpm_t1=False))
    with pytest.raises(ConfigError, match="decoder.speed=0"):
        decoder_of(17, speed=0)
