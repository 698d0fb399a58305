"""The price of a chain's length: closed form against the bound itself, the shortest chain against its neighbours."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from difflab.bound.advice import LONGEST, MAX_DIMS, Spectrum, price, shortest, spectrum
from difflab.bound.chain import VARIANCES
from difflab.bound.estimator import Examples, evaluate
from difflab.bound.exhaustive import Exhaustive
from difflab.errors import ConfigError
from difflab.schedule.base import Schedule
from difflab.variance._optimal import Optimal
from difflab.variance.base import Variance
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from tests.analytic import NORMAL, SCHEDULES, TO_ZERO, Normal, cosine, diffusion_of, expected_bound, linear, log_linear

CHAINS = {f"{name} {T}": (lambda make=make, T=T: make(T)) for name, make in SCHEDULES.items() for T in (21, 300)}
CHAINS |= {f"{name} to zero": (lambda make=make: make(30)) for name, make in TO_ZERO.items()}
CHAINS |= {"cosine 1": lambda: cosine(1), "log_linear 2": lambda: log_linear(2)}


def of(data: Normal) -> Spectrum:
    return Spectrum(data.var.numpy(), float(data.mean.square().sum()))


def variance_of(name: str, schedule: Schedule, data: Normal) -> Variance:
    error = torch.cat(
        [torch.zeros(1).double(), data.posterior_var(schedule.level(torch.arange(1, schedule.T + 1))).mean(1)]
    )
    return {
        "fixed_beta": FixedBeta(ddpm_t1=False),
        "fixed_beta_tilde": FixedBetaTilde(),
        "optimal": Optimal(schedule.log_snr, error, float(torch.log(error[1]))),
    }[name]


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("chain", CHAINS)
def test_the_gap_is_the_expected_bound_less_the_best(chain, variance):
    schedule = CHAINS[chain]()
    diffusion = diffusion_of(NORMAL.predict, schedule, "v", variance_of(variance, schedule, NORMAL))
    by_quadrature = expected_bound(diffusion, NORMAL.nodes()) - NORMAL.best_bound(schedule)
    cost = price(schedule, of(NORMAL))
    assert cost.gap(variance) == pytest.approx(by_quadrature, rel=1e-8, abs=1e-10)
    assert cost.steps[variance] >= -1e-12 and cost.decoder[variance] >= 0


@pytest.mark.parametrize("chain", CHAINS)
def test_the_prior_terms_are_those_of_the_bound(chain):
    schedule = CHAINS[chain]()
    x0, _, weight = NORMAL.nodes()
    top = schedule.level(torch.full((len(x0),), schedule.T))
    cost = price(schedule, of(NORMAL))
    expected = float((diffusion_of(NORMAL.predict, schedule).process.prior_kl(x0, top) * weight).sum())
    assert cost.prior_kl == pytest.approx(expected, rel=1e-10, abs=1e-300)
    assert cost.prior_mismatch == pytest.approx(NORMAL.best_bound(schedule) - NORMAL.entropy, rel=1e-6, abs=1e-13)
    if chain.endswith("zero"):
        assert cost.prior_kl == 0 == cost.prior_mismatch


def test_directions_that_are_no_axes_cost_the_same():
    """Correlated data, evaluated draw by draw with the predictor E[x0|x_t] = m + S alpha (alpha^2 S + sigma^2)^-1 (x - alpha m)."""
    covariance = torch.tensor([[1.0, 0.98], [0.98, 1.1]], dtype=torch.float64)
    mean, values = torch.tensor([0.2, -0.1], dtype=torch.float64), torch.linalg.eigvalsh(covariance)
    schedule = cosine(8)

    def predict(x, level):
        alpha, noise = level.alpha[:, None, None], level.sigma.square()[:, None, None]
        gain = covariance @ torch.linalg.inv(alpha**2 * covariance + noise * torch.eye(2, dtype=torch.float64))
        return mean + alpha[:, 0] * ((x - alpha[:, 0] * mean)[:, None] @ gain.mT)[:, 0]

    variance = variance_of("optimal", schedule, Normal(mean, values))
    noise = torch.randn(20_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (mean + noise @ torch.linalg.cholesky(covariance).T).float()
    design = Exhaustive(examples=None, draws=1, target_se=None, clip_x0=False, seed=0, batch_size=20_000)
    totals = evaluate(
        diffusion_of(predict, schedule, "v", variance), Examples(x, torch.arange(len(x))), design
    ).totals()
    # less each example's own -log p(x), so that what is left varies little
    best = -torch.distributions.MultivariateNormal(mean, covariance).log_prob(x.double()).numpy()
    excess = totals.mean(1) - best
    cost = price(schedule, Spectrum(values.numpy(), float(mean.square().sum())))
    se = excess.std() / math.sqrt(len(excess))
    assert abs(excess.mean() - cost.gap("optimal") - cost.prior_mismatch) < 4 * se
    assert cost.gap("optimal") > 20 * se


@pytest.mark.parametrize("T", [2, 30, 1000])
def test_one_variance_is_enough_for_data_without_directions(T):
    cost = price(cosine(T), Spectrum(np.full(7, 0.3), 0.0))
    assert abs(cost.gap("optimal")) < 1e-10 < cost.gap("fixed_beta")


@pytest.mark.parametrize("variance", ["optimal", "fixed_beta"])
@pytest.mark.parametrize("gap", [0.3, 0.02])
@pytest.mark.parametrize("name", [*SCHEDULES, "linear to zero"])
def test_the_shortest_chain_meets_the_gap_and_one_step_less_does_not(name, gap, variance):
    make, data = {**SCHEDULES, "linear to zero": TO_ZERO["linear"]}[name], Spectrum(np.geomspace(1e-3, 4, 16), 1.0)
    T = shortest(make, data, variance, gap)
    assert T is not None and price(make(T), data).gap(variance) <= gap
    try:
        assert price(make(T - 1), data).gap(variance) > gap
    except ConfigError:  # shorter chains are none of this schedule
        assert T == 21
    longer = shortest(make, data, variance, gap / 2)
    assert longer is not None and longer > T


def test_the_shortest_chain_of_a_schedule_that_refuses_short_ones_is_its_shortest():
    assert shortest(linear, of(NORMAL), "optimal", 100.0) == 21
    assert shortest(cosine, of(NORMAL), "optimal", 100.0) == 1


def test_no_length_makes_up_for_the_posteriors_variance():
    """fixed_beta_tilde stays 0.44 nats/dim above the best (theory), so half of that is never met."""
    assert shortest(linear, of(NORMAL), "fixed_beta_tilde", 0.2) is None
    assert price(linear(LONGEST), of(NORMAL)).gap("fixed_beta_tilde") / 2 > 0.44


def pictures(count: int, levels: int | None, shape: tuple[int, ...] = (1, 2, 3)) -> Any:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(levels or 9, (count, *shape), generator=generator).to(torch.uint8)
    x[:, :, 0, 0] = 3  # a constant pixel
    x[:, :, 1, 1] = x[:, :, 1, 2]
    to_unit = (lambda y: y.float()) if levels is None else (lambda y: y.float().mul(2).div(levels - 1).sub(1))
    return SimpleNamespace(train=SimpleNamespace(x=x), levels=levels, dims=math.prod(shape), to_unit=to_unit)


@pytest.mark.parametrize("levels", [9, None])
def test_the_spectrum_is_that_of_the_training_data(levels, monkeypatch):
    monkeypatch.setattr("difflab.bound.advice.CHUNK", 64)
    data = pictures(300, levels)
    x = data.to_unit(data.train.x).flatten(1).double().numpy()
    width = 0.0 if levels is None else 2 / (levels - 1)
    expected = np.linalg.eigvalsh(np.cov(x.T, bias=True)).clip(0) + width**2 / 12
    found = spectrum(data)
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-9, atol=1e-13)
    assert found.mean_square == pytest.approx(float((x.mean(0) ** 2).sum()), rel=1e-12)
    gap = price(cosine(100), found).gap("optimal")
    assert math.isfinite(gap) if levels else gap == math.inf  # a density without extent


def test_too_many_dimensions_are_refused():
    with pytest.raises(ConfigError, match=f"{MAX_DIMS:,}"):
        spectrum(pictures(2, 9, (1, 65, 65)))
