"""What the bound must equal where the answer is known: Gaussian data, mixtures, perfect and constant predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from difflab.bound.terms import bound_term
from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.gaussian import BITS
from difflab.schedule.base import Schedule
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from difflab.variance.learned_range import LearnedRange
from tests.analytic import (
    NORMAL,
    PARAMETERIZATIONS,
    SCHEDULES,
    TO_ZERO,
    ExactVariance,
    Mixture,
    Normal,
    TableVariance,
    column,
    constant,
    cosine,
    diffusion_of,
    expected_bound,
    expected_terms,
    hermite,
    linear,
    log_linear,
    random_pair,
    shrinking,
    sigmoid,
    terms_at,
    times,
)

CHAINS = {
    "linear-2": lambda: linear(2, 1e-4, 1e-3),
    "linear-21": lambda: linear(21),
    "linear-1000": lambda: linear(1000),
    "cosine-1": lambda: cosine(1),
    "cosine-2": lambda: cosine(2),
    "cosine-4000": lambda: cosine(4000),
    "sigmoid-1": lambda: sigmoid(1),
    "sigmoid-1000": lambda: sigmoid(1000),
    "log_linear-2": lambda: log_linear(2),
    "log_linear-1000": lambda: log_linear(1000),
    "respaced": lambda: linear(1000).respace(torch.tensor([1, 7, 100, 400, 1000])),
    "linear-21 to zero": lambda: TO_ZERO["linear"](21),
    "cosine-2 to zero": lambda: TO_ZERO["cosine"](2),
    "cosine-4000 to zero": lambda: TO_ZERO["cosine"](4000),
    "sigmoid-1000 to zero": lambda: TO_ZERO["sigmoid"](1000),
    "log_linear-3 to zero": lambda: TO_ZERO["log_linear"](3),
    "respaced, to zero": lambda: TO_ZERO["linear"](1000).respace(torch.tensor([1, 7, 100, 400, 1000])),
    "one step of it, to zero": lambda: TO_ZERO["cosine"](1000).respace(torch.tensor([1000])),
}
KINDS = [(name, kind) for name in SCHEDULES for kind in PARAMETERIZATIONS]
KINDS += [(f"{name} to zero", kind) for name in TO_ZERO for kind in PARAMETERIZATIONS if kind != "eps"]


def made(name: str, T: int) -> Schedule:
    kind, _, zero = name.partition(" ")
    return (TO_ZERO if zero else SCHEDULES)[kind](T)


def excess(schedule: Schedule, variance, data: Normal = NORMAL) -> float:
    """How far the expected bound of Gaussian data lies above its optimum, nats/dim."""
    diffusion = diffusion_of(data.predict, schedule, "v", variance)
    return (expected_bound(diffusion, data.nodes()) - data.best_bound(schedule)) / len(data.mean)


@pytest.mark.parametrize("chain", CHAINS)
def test_the_exact_model_of_gaussian_data_reaches_entropy_plus_prior_mismatch_for_every_T(chain):
    assert abs(excess(CHAINS[chain](), ExactVariance(NORMAL))) < 1e-11


@pytest.mark.parametrize("name, parameterization", KINDS)
def test_that_optimum_is_reached_in_every_parameterization(name, parameterization):
    schedule = made(name, 60)
    diffusion = diffusion_of(NORMAL.predict, schedule, parameterization, ExactVariance(NORMAL))
    assert expected_bound(diffusion, NORMAL.nodes()) == pytest.approx(NORMAL.best_bound(schedule), rel=1e-10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_fixed_beta_tends_to_the_optimum_as_T_grows(name):
    gaps = [excess(SCHEDULES[name](T), FixedBeta(ddpm_t1=False)) for T in (50, 200, 1000)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] == pytest.approx(gaps[1] / 5, rel=0.05)  # like 1 / T
    assert gaps[2] < 1e-3


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_best_isotropic_variance_tends_to_the_optimum_and_beats_both_fixed_ones(name):
    """v*_t = beta_tilde (1 + (SNR_s - SNR_t) E||x0 - x0_hat||^2 / dims): theory section 3, `optimal`."""
    gaps = []
    for T in (50, 200, 1000):
        schedule = SCHEDULES[name](T)
        step = schedule.step(times(T, 1))
        mse = NORMAL.posterior_var(step.t).mean(1)
        snr = torch.exp(schedule.log_snr)
        best = torch.log1p((snr[:-1] - snr[1:]) * mse)
        best[0] = torch.log(mse[0]) - step.log_beta_tilde[0]  # t = 1: v* = E||x0 - x0_hat||^2 / dims
        table = torch.cat([torch.zeros(1, dtype=torch.float64), best])
        gaps.append(excess(schedule, TableVariance(schedule, table)))
        assert 0 < gaps[-1] < min(excess(schedule, v) for v in (FixedBeta(ddpm_t1=False), FixedBetaTilde()))
        transitions = expected_terms(
            diffusion_of(NORMAL.predict, schedule, "v", TableVariance(schedule, table)), NORMAL.nodes()
        )
        torch.testing.assert_close(
            transitions[1:], best[1:], rtol=1e-9, atol=0
        )  # dims / 2 log(v*/beta_tilde), dims = 2
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-3


def test_fixed_beta_tilde_stays_above_the_optimum_by_044_nats_per_dim_however_long_the_chain():
    # Near t = 1 SNR_{t-1} / SNR_t = t / (t-1) whatever T: the true variance is that multiple of beta_tilde. Summed
    # over t, with beta / 2 in place of beta at t = 1, the excess tends to (gamma + 1 - log 2) / 2 from above.
    limit = (np.euler_gamma + 1 - math.log(2)) / 2
    data = Normal(torch.zeros(1).double(), torch.ones(1).double())
    gaps = {T: excess(linear(T), FixedBetaTilde(), data) - limit for T in (1000, 4000)}
    assert limit == pytest.approx(0.442, abs=1e-3)
    assert gaps[1000] > gaps[4000] > 0
    assert gaps[4000] < 0.05 and gaps[4000] > gaps[1000] / 4  # and it comes down more slowly than 1 / T


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_mixture_of_gaussians_is_never_beaten_and_reached_as_T_grows(name):
    data = Mixture(torch.tensor([0.3, 0.7]).double(), torch.tensor([-1.0, 0.6]).double(), 0.05)
    gaps = []
    for T in (50, 200, 800):
        schedule = SCHEDULES[name](T)
        gaps.append(expected_bound(diffusion_of(data.predict, schedule), data.nodes()) - data.best_bound(schedule))
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] == pytest.approx(gaps[1] / 4, rel=0.05)
    assert gaps[2] < 0.01


@pytest.mark.parametrize("name, parameterization", KINDS)
def test_predicting_x0_itself_leaves_no_mean_error(name, parameterization):
    T = 50
    x0, eps = random_pair((1, 6))
    diffusion = diffusion_of(lambda x, level: x0.expand_as(x), made(name, T), parameterization)
    term = terms_at(diffusion, x0.expand(T, -1), eps.expand(T, -1), times(T, 1))
    assert float(term.mean_error.max()) < 1e-24
    assert bool((term.variance_mismatch[1:] > 0).all())


def test_the_bound_of_q_itself_is_zero_after_the_first_step():
    x0, eps = random_pair((1, 6))
    diffusion = diffusion_of(lambda x, level: x0.expand_as(x), cosine(50), "x0", FixedBetaTilde())
    term = terms_at(diffusion, x0.expand(50, -1), eps.expand(50, -1), times(50, 1))
    assert torch.equal(term.nats[1:], torch.zeros(49, dtype=torch.float64))


def refinement(variance, name: str, stops: list[int]) -> float:
    """Sum of the KL terms of the chain 1 -> ... -> 60 that visits `stops`, for the constant prediction 0.3."""
    schedule = SCHEDULES[name](60).respace(torch.tensor([1, *stops, 60]))
    x0, eps = random_pair((1, 5))
    T = schedule.T
    term = terms_at(
        diffusion_of(constant(0.3), schedule, "eps", variance), x0.expand(T, -1), eps.expand(T, -1), times(T, 1)
    )
    return float(term.nats[1:].sum())


@pytest.mark.parametrize("stops", [[], [30], [2, 3, 40], list(range(2, 60))], ids=len)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_constant_prediction_costs_the_same_over_any_refinement_of_a_jump(name, stops):
    schedule = SCHEDULES[name](60)
    x0, _ = random_pair((1, 5))
    snr = torch.exp(schedule.log_snr)
    jump = 0.5 * float((snr[1] - snr[60]) * (x0 - 0.3).square().sum())
    assert refinement(FixedBetaTilde(), name, stops) == pytest.approx(jump, rel=1e-10)


def test_with_v_beta_a_refinement_does_change_the_cost():
    coarse, fine = (refinement(FixedBeta(ddpm_t1=False), "linear", stops) for stops in ([], list(range(2, 60))))
    assert abs(coarse - fine) > 0.1 * fine


@pytest.mark.parametrize("T", [2, 1000, 4000])
@pytest.mark.parametrize("name", list(dict.fromkeys(name for name, _ in KINDS)))
def test_one_predictor_has_one_bound_in_all_parameterizations(name, T):
    ends = {"zero_terminal": name.endswith("zero")}
    schedule = linear(T, 1e-4, 1e-3, **ends) if T == 2 and name.startswith("linear") else made(name, T)
    rows, kinds = 2, [kind for other, kind in KINDS if other == name]
    x0, eps = random_pair((T * rows, 8))
    nats = {
        kind: terms_at(diffusion_of(shrinking, schedule, kind, LearnedRange(), head=-0.2), x0, eps, times(T, rows)).nats
        for kind in kinds
    }
    for kind in kinds:
        torch.testing.assert_close(nats[kind], nats["x0"], rtol=1e-7, atol=0)


@pytest.mark.parametrize("name, parameterization", KINDS)
def test_float32_agrees_with_float64_at_every_t(name, parameterization):
    T, rows, dims = 1000, 2, 64
    x0, eps = random_pair((T * rows, dims))
    diffusion = diffusion_of(shrinking, made(name, T), parameterization, LearnedRange(), head=0.9)
    exact = terms_at(diffusion, x0, eps, times(T, rows))
    single = terms_at(diffusion, x0.float(), eps.float(), times(T, rows))
    for a, b in zip(single, exact, strict=True):
        assert a.dtype == torch.float32
        # 3e-8 nats/dim absolute: beside a term that small, the rounding of y itself shows (mu and eps near t = T)
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=3e-8 * dims)


def test_isolated_8_bit_pixels_cost_239_bits_at_t1_and_250_with_ddpms_variance():
    grid = torch.linspace(-1, 1, 256, dtype=torch.float64)

    def exact(x, level):  # the posterior mean of one pixel, each level equally likely
        log_p = -0.5 * ((x - column(level.alpha, x) * grid) / column(level.sigma, x)) ** 2
        return (log_p.softmax(1) * grid).sum(1, keepdim=True)

    z, weight = hermite(48, 1)
    x0, eps, one = grid.repeat_interleave(48)[:, None], z.repeat(256, 1), torch.ones(256 * 48, dtype=torch.int64)
    bits = []
    for ddpm_t1 in (False, True):
        diffusion = diffusion_of(exact, linear(1000), "eps", FixedBeta(ddpm_t1=ddpm_t1), DiscretizedGaussian(256))
        nats = terms_at(diffusion, x0, eps, one).nats.reshape(256, 48)
        bits.append(float(BITS.per_dim((nats * weight).sum(1).mean(), 1)))
    assert bits == pytest.approx([2.387, 2.499], abs=1e-3)


def test_clipping_x0_is_another_model_with_another_bound():
    T = 40
    x0, eps = random_pair((T, 6))

    def wild(x, level):
        return 3 * torch.tanh(x)

    diffusion, t = diffusion_of(wild, cosine(T), "eps"), times(T, 1)
    clipped_predictor = diffusion_of(lambda x, level: wild(x, level).clamp(-1, 1), cosine(T), "eps")
    step = diffusion.schedule.step(t)
    prediction = diffusion(diffusion.process.noised(x0, step.t, eps), step)
    clipped = bound_term(diffusion.decoder, prediction.clipped(), x0, eps).nats
    torch.testing.assert_close(clipped, terms_at(clipped_predictor, x0, eps, t).nats, rtol=1e-9, atol=1e-12)
    assert bool((clipped < bound_term(diffusion.decoder, prediction, x0, eps).nats).all())
