"""All terms of a bound in one step: a path has the moments of q, and its cut into chunks changes nothing."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from difflab.errors import ConfigError
from difflab.gaussian import BITS
from difflab.process.gaussian import Gaussian
from difflab.process.gaussian import Gaussian as GaussianProcess
from difflab.timestep.full_chain import FullChain
from tests.analytic import cosine
from tests.train.test_trainer import trainer

T, B = 12, 40_000


def paths(markov: bool, chunk: int = 5) -> torch.Tensor:
    """eps of B paths, [B, T + 1] (slot 0 unused)."""
    source = torch.Generator().manual_seed(3)
    sampler = FullChain(GaussianProcess(), cosine(T), chunk=chunk, markov=markov)
    draws = list(sampler.draws(B, source, lambda: torch.randn(B, 1, generator=source)))
    assert [draw.eps.shape[1] for draw in draws] == list(sampler.widths)
    t = torch.cat([draw.times.t for draw in draws], 1)
    assert torch.equal(t, torch.arange(1, T + 1).expand(B, -1))
    assert all(bool((draw.times.iw == 1).all()) for draw in draws)
    return torch.cat([torch.zeros(B, 1), *(draw.eps[..., 0] for draw in draws)], 1)


def test_a_path_has_the_moments_of_the_chain():
    """Every single step of q: x_t given x_s has the mean alpha_t/alpha_s x_s and the variance beta, whatever came before;
    and every x_t is q(x_t|x_0)'s. Five standard errors."""
    schedule, process, x0 = cosine(T), Gaussian(), torch.full((B, 1), 0.7)
    eps = paths(markov=True)
    x = [x0[:, 0]]
    for t in range(1, T + 1):
        step = schedule.step(torch.full((B,), t))
        x.append(process.noised(x0, step.t, eps[:, t : t + 1])[:, 0])
        forward = process.step(x[t - 1][:, None], step)
        z = ((x[t] - forward.mean[:, 0]) * torch.exp(-0.5 * forward.log_var[:, 0])).double()
        assert abs(float(z.mean())) < 5 / B**0.5
        assert abs(float(z.var()) - 1) < 5 * (2 / B) ** 0.5
        for before in range(1, t):
            assert abs(float((z * eps[:, before].double()).mean())) < 5 / B**0.5
        assert abs(float(eps[:, t].double().var()) - 1) < 5 * (2 / B) ** 0.5


def test_without_a_path_noise_does_not_remember():
    correlation = torch.corrcoef(paths(markov=False)[:, 1:].T.double()) - torch.eye(T)
    assert float(correlation.abs().max()) < 5 / B**0.5
    remembered = torch.corrcoef(paths(markov=True)[:, 1:].T.double())
    snr = cosine(T).log_snr[1:].exp()
    expected = (snr.minimum(snr[:, None]) / snr.maximum(snr[:, None])).sqrt()
    assert float((remembered - expected).abs().max()) < 5 / B**0.5


def step_of(chunk: int, accumulate: int = 1) -> tuple[torch.Tensor, torch.Tensor, float]:
    """(gradient of a step, its unweighted terms for each t, its bound as logged) of the trainer's own test network."""
    made = trainer(
        dropout=0.0,
        accumulate=accumulate,
        log_every=1,
        timestep=partial(FullChain, GaussianProcess(), chunk=chunk, markov=True),
    )
    kept: list[torch.Tensor] = []
    made.optimizer.register_step_pre_hook(
        lambda *_: kept.append(torch.cat([p.grad.flatten() for p in made.model.parameters() if p.grad is not None]))
    )
    row = made.train_step()
    return kept[0], made.meter.read_per_t()[1], row["train/bpd"]


def test_a_step_is_the_gradient_of_the_whole_bound_however_it_is_cut():
    whole, terms, bound = step_of(8)
    assert not bool(terms.isnan().any())  # every t was seen
    made = trainer(dropout=0.0, log_every=1)
    x0 = made.to_unit(made.source.batch(1))
    prior = made.diffusion.process.prior_kl(x0, made.diffusion.schedule.level(torch.full((len(x0),), 8))).mean()
    assert bound == pytest.approx(float(BITS.per_dim(terms.sum() + prior, x0[0].numel())), rel=1e-6)
    for chunk, accumulate in ((1, 1), (5, 1), (5, 3), (1, 2)):
        part, same_terms, figure = step_of(chunk, accumulate)
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(same_terms, terms)
        assert figure == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize("chunk", [0, T + 1])
def test_an_impossible_chunk_is_refused(chunk: int):
    with pytest.raises(ConfigError, match=rf"timestep\.chunk={chunk} must lie in 1\.\.{T}"):
        FullChain(GaussianProcess(), cosine(T), chunk=chunk, markov=True)
