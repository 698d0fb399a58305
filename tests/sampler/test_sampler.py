"""Walking the chain backwards with a predictor that is exact."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.errors import ConfigError
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import Ddim
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from tests.analytic import (
    NORMAL,
    PARAMETERIZATIONS,
    SCHEDULES,
    ExactVariance,
    column,
    constant,
    cosine,
    diffusion_of,
    predict_at,
    random_pair,
    shrinking,
    times,
)


def ancestral(steps: int | None = None, count: int = 8, clip_x0: bool = False) -> Ancestral:
    return Ancestral(steps=steps, count=count, clip_x0=clip_x0, guidance=1.0)


def ddim(steps: int | None = None, count: int = 8, eta: float = 0.0, clip_x0: bool = False) -> Ddim:
    return Ddim(steps=steps, count=count, clip_x0=clip_x0, guidance=1.0, eta=eta)


@pytest.mark.parametrize("steps", [None, 5, 2])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_exact_reverse_chain_reproduces_the_datas_moments_in_any_number_of_steps(name, steps):
    count, schedule = 20_000, SCHEDULES[name](40)
    diffusion = diffusion_of(NORMAL.predict, schedule, "v", ExactVariance(NORMAL))
    x = ancestral(steps, count).sample(diffusion, (2,), seed=0).double()
    assert x.shape == (count, 2)
    # the last step shows a mean: it lacks Var(x0|x_1); x_T starts from N(0, I), off by less than 1% here
    var = NORMAL.var - NORMAL.posterior_var(schedule.level(torch.tensor([1])))[0]
    slack = 0.01
    assert bool(((x.mean(0) - NORMAL.mean).abs() < 4.5 * (var / count).sqrt() + slack).all())
    assert bool(((x.var(0) / var - 1).abs() < 4.5 * math.sqrt(2 / count) + slack).all())
    assert abs(float(torch.corrcoef(x.T)[0, 1])) < 4.5 / math.sqrt(count)


def test_with_too_small_a_variance_a_short_chain_loses_spread():
    diffusion = diffusion_of(NORMAL.predict, cosine(5), "v", FixedBetaTilde())
    x = ancestral(None, 5000).sample(diffusion, (2,), seed=0)
    assert bool((x.var(0) < 0.9 * NORMAL.var).all())


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_reproduces_the_datas_moments_when_the_chain_is_long(name):
    count = 5000
    x = ddim(None, count).sample(diffusion_of(NORMAL.predict, SCHEDULES[name](300)), (2,), seed=0).double()
    slack = 0.02  # first-order integration of the ODE
    assert bool(((x.mean(0) - NORMAL.mean).abs() < 4.5 * (NORMAL.var / count).sqrt() + slack).all())
    assert bool(((x.var(0) / NORMAL.var - 1).abs() < 4.5 * math.sqrt(2 / count) + 2 * slack).all())


def test_ddim_at_eta_0_uses_no_noise_and_at_eta_1_is_the_posterior():
    x0, eps = random_pair((39, 4))
    t = torch.arange(2, 41)
    prediction = predict_at(diffusion_of(shrinking, cosine(40), "v", FixedBetaTilde()), x0, eps, t)
    z = torch.randn(39, 4, generator=torch.Generator().manual_seed(1)).double()
    assert torch.equal(ddim().reverse(prediction, z), ddim().reverse(prediction, -z))
    torch.testing.assert_close(
        ddim(eta=1.0).reverse(prediction, z), ancestral().reverse(prediction, z), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_keeps_the_marginals_whatever_eta(eta):
    """With the true x0 as the prediction, x_s - alpha_s x0 has variance sigma_s^2 over eps and z."""
    x0 = random_pair((39, 4))[0]
    t = torch.arange(2, 41)
    diffusion = diffusion_of(lambda x, level: x0, cosine(40), "x0", FixedBetaTilde())
    zero, one = torch.zeros_like(x0), torch.ones_like(x0)
    step = diffusion.schedule.step(t)
    mean = ddim(eta=eta).reverse(predict_at(diffusion, x0, zero, t), zero)
    torch.testing.assert_close(mean, column(step.s.alpha, x0) * x0, rtol=1e-9, atol=1e-9)
    from_eps = ddim(eta=eta).reverse(predict_at(diffusion, x0, one, t), zero) - mean
    from_z = ddim(eta=eta).reverse(predict_at(diffusion, x0, zero, t), one) - mean
    torch.testing.assert_close(
        from_eps**2 + from_z**2, column(step.s.sigma**2, x0).expand_as(x0), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("make", [ancestral, ddim])
@pytest.mark.parametrize("steps", [None, 1, 2, 7, 40, 50])
def test_k_steps_visit_k_evenly_spaced_levels(make, steps):
    schedule, seen, progress = cosine(40), [], []
    diffusion = diffusion_of(shrinking, schedule)
    network = diffusion.model

    def spy(x_t, log_snr, cond):
        seen.append(float(log_snr[0]))
        return network(x_t, log_snr, cond)

    x = make(steps, count=3).sample(
        replace(diffusion, model=spy), (2,), seed=0, on_step=lambda done, total: progress.append((done, total))
    )
    k = min(steps or 40, 40)  # a chain has no more steps than its own
    expected = schedule.log_snr[schedule.even(k)].flip(0).float().tolist()
    assert seen == expected and bool(torch.isfinite(x).all())
    assert progress == [(done + 1, k) for done in range(k)]


@pytest.mark.parametrize("make", [ancestral, ddim])
def test_samples_are_the_seeds_alone(make):
    diffusion = diffusion_of(shrinking, cosine(10))
    first = make().sample(diffusion, (2,), seed=4)
    torch.manual_seed(99)
    assert torch.equal(make().sample(diffusion, (2,), seed=4), first)
    assert not torch.equal(make().sample(diffusion, (2,), seed=5), first)
    assert not first.requires_grad


@pytest.mark.parametrize("make", [ancestral, ddim])
@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
def test_all_parameterizations_of_a_predictor_draw_the_same_samples(make, kind):
    a, b = (make().sample(diffusion_of(shrinking, cosine(30), k), (3,), seed=1) for k in (kind, "x0"))
    torch.testing.assert_close(a, b, rtol=0, atol=2e-4)


@pytest.mark.parametrize("make", [ancestral, ddim])
def test_clipping_acts_on_data_with_levels_only(make):
    grid = diffusion_of(constant(3.0), cosine(10), decoder=DiscretizedGaussian(17))
    continuous = diffusion_of(constant(3.0), cosine(10))
    assert torch.equal(make(clip_x0=True).sample(grid, (2,), seed=0), torch.ones(8, 2))
    for diffusion, clip in ((grid, False), (continuous, True)):
        torch.testing.assert_close(make(clip_x0=clip).sample(diffusion, (2,), seed=0), torch.full((8, 2), 3.0))


def test_a_chain_of_one_step_shows_the_predicted_mean():
    diffusion = diffusion_of(NORMAL.predict, cosine(1))
    x_T = diffusion.process.prior_sample((8, 2), torch.Generator().manual_seed(0))
    expected = NORMAL.predict(x_T.double(), diffusion.schedule.level(times(1, 8)))
    torch.testing.assert_close(ancestral().sample(diffusion, (2,), seed=0).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_impossible_values_are_refused_by_name(eta):
    with pytest.raises(ConfigError, match=rf"sampler\.eta={eta}"):
        ddim(eta=eta)
    with pytest.raises(ConfigError, match=r"sampler\.count=0"):
        ancestral(count=0)
    with pytest.raises(ConfigError, match=r"sampler\.steps=0"):
        ancestral(0)
