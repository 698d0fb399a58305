"""A chain that ends in pure noise: Lin et al.'s rescaling, the last step's coefficients, what every part makes of them."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
import torch

from difflab.assemble import assemble
from difflab.bound import chain, ledger
from difflab.bound.estimator import Examples, evaluate
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.insight import optimal_variance_bound
from difflab.errors import ConfigError, NotDefined
from difflab.figure.curve import per_log_snr_curve
from difflab.parameterization.base import Coefficients, Parameterization, check_recovers
from difflab.process.gaussian import Gaussian
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import Ddim
from difflab.schedule.base import Schedule, Step
from difflab.variance._optimal import Optimal
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from difflab.variance.learned_range import LearnedRange
from tests.analytic import (
    NORMAL,
    PARAMETERIZATIONS,
    SCHEDULES,
    TO_ZERO,
    ExactVariance,
    column,
    diffusion_of,
    expected_bound,
    expected_terms,
    log_linear,
    random_pair,
    shrinking,
    terms_at,
    times,
)
from tests.test_combinations import config_of

RECOVERING = [kind for kind in PARAMETERIZATIONS if kind != "eps"]


def almost(schedule: Schedule, log_snr: float) -> Schedule:
    """The same chain with a terminal SNR that is tiny instead of zero."""
    return Schedule(torch.cat([schedule.log_snr[:-1], torch.tensor([log_snr], dtype=torch.float64)]))


@pytest.mark.parametrize("T", [30, 1000])
@pytest.mark.parametrize("name", TO_ZERO)
def test_the_table_is_lins_rescaling_of_the_schedules(name, T):
    before, after = (made[name](T).log_snr.numpy().astype(np.longdouble) for made in (SCHEDULES, TO_ZERO))
    alpha = np.sqrt(1 / (1 + np.exp(-before[1:])))
    rescaled = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])  # algorithm 1
    expected = np.log(rescaled[:-1] ** 2) - np.log1p(-(rescaled[:-1] ** 2))
    np.testing.assert_allclose(after[1:-1].astype(float), expected.astype(float), rtol=1e-9, atol=1e-11)
    assert after[0] == math.inf and after[1] == before[1] and after[-1] == -math.inf


@pytest.mark.parametrize("name", TO_ZERO)
def test_a_schedule_that_is_not_asked_is_left_as_it_was(name):
    assert bool(torch.isfinite(SCHEDULES[name](30).log_snr[1:]).all())


@pytest.mark.parametrize("last", [1e-3, -5.0, -40.0])
@pytest.mark.parametrize("first", [1.0, 13.3, 60.0])
def test_any_end_points_give_a_falling_chain(first, last):
    for T in (2, 3, 50, 4000):
        log_snr = log_linear(T, True, first, last).log_snr
        assert bool((log_snr.diff() < 0).all()) and bool(torch.isfinite(log_snr[1:-1]).all())


def test_a_chain_of_one_step_cannot_keep_alpha_1_and_lose_it():
    for name in ("cosine", "sigmoid"):
        with pytest.raises(ConfigError, match=r"zero_terminal=true .* schedule\.T=2 or more"):
            TO_ZERO[name](1)


@pytest.mark.parametrize("name", TO_ZERO)
def test_every_coefficient_of_the_last_step_is_finite_and_what_it_must_be(name):
    schedule = TO_ZERO[name](30)
    step = schedule.step(torch.tensor([30]))
    before = schedule.level(torch.tensor([29]))
    assert (float(step.t.alpha), float(step.t.sigma), float(step.c), float(step.ct)) == (0, 1, 1, 0)
    assert float(step.c0) == float(before.alpha) and float(step.log_beta) == 0
    assert float(step.log_beta_tilde) == float(before.log_var) == -float(step.log_ratio)
    x0, x_t = random_pair((1, 5))
    posterior = Gaussian().posterior(x0, x_t, step)
    torch.testing.assert_close(posterior.mean, before.alpha * x0, rtol=1e-15, atol=0)  # x_T tells nothing of x_0
    assert torch.equal(Gaussian().prior_kl(1e3 * x0, step.t), torch.zeros(1, dtype=torch.float64))
    assert torch.equal(Gaussian().noised(x0, step.t, x_t), x_t)


@pytest.mark.parametrize("kind", RECOVERING)
@pytest.mark.parametrize("name", TO_ZERO)
def test_every_term_is_the_limit_of_vanishing_signal(name, kind):
    T, rows = 30, 4
    x0, eps = random_pair((T * rows, 6))
    exact, near = (
        terms_at(diffusion_of(shrinking, schedule, kind, LearnedRange(), head=0.3), x0, eps, times(T, rows))
        for schedule in (TO_ZERO[name](T), almost(TO_ZERO[name](T), -60.0))
    )
    for a, b in zip(exact, near, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert float(exact.mean_error[-rows:].min()) > 0


@pytest.mark.parametrize("variance", [FixedBeta(ddpm_t1=False), FixedBetaTilde()], ids=["beta", "beta_tilde"])
@pytest.mark.parametrize("name", TO_ZERO)
def test_a_part_of_the_chain_costs_what_the_jumps_say(name, variance):
    full, kept = TO_ZERO[name](40), torch.tensor([1, 5, 22, 40])
    assert full.even(4)[-1] == 40
    mse = np.append(math.nan, NORMAL.posterior_var(full.level(torch.arange(1, 41))).mean(1).numpy())
    variance_name = "fixed_beta" if isinstance(variance, FixedBeta) else "fixed_beta_tilde"
    jumps = chain.Jumps(full.log_snr.numpy(), mse, mse, 2, variance_name)
    terms = expected_terms(diffusion_of(NORMAL.predict, full.respace(kept), "v", variance), NORMAL.nodes())
    np.testing.assert_allclose(terms[1:].numpy(), jumps.cost(kept[:-1].numpy(), kept[1:].numpy()), rtol=1e-9)
    best = chain.optimal_times(full.log_snr.numpy(), mse, 5)
    assert best[-1] == 40 and best[0] == 1


def test_an_evaluation_of_it_and_what_follows_are_finite(tmp_path):
    schedule = TO_ZERO["cosine"](25)
    mse = torch.cat([torch.zeros(1).double(), NORMAL.posterior_var(schedule.level(torch.arange(1, 26))).mean(1)])
    variance = Optimal(schedule.log_snr, mse, float(torch.log(mse[1])))
    diffusion = diffusion_of(NORMAL.predict, schedule, "v", variance)
    x = (
        NORMAL.mean
        + NORMAL.var.sqrt() * torch.randn(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ).float()
    design = Exhaustive(examples=None, draws=1, target_se=None, clip_x0=False, seed=0, batch_size=5000)
    estimate = evaluate(diffusion, Examples(x, torch.arange(len(x))), design)
    book = ledger.build(estimate)
    assert book.totals["prior_kl"] == 0 == book.columns["mse_eps"][24]
    assert all(math.isfinite(value) for name, value in book.totals.items() if "noise" not in name)
    expected = expected_bound(diffusion, NORMAL.nodes()) / 2
    assert abs(book.totals["nats_per_dim"] - expected) < 4 * book.totals["nats_per_dim_se"]
    best, se = optimal_variance_bound(estimate)
    assert abs(best - expected) < 4 * se
    again = ledger.Ledger.load(book.save(tmp_path / "ledger.csv"))
    assert again.columns["log_snr_t"][-1] == -math.inf
    curve = per_log_snr_curve(again)
    assert len(curve.rows) == 23 and all(math.isfinite(value) for row in curve.rows for value in row)  # t = 2..24


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
@pytest.mark.parametrize("steps", [None, 40])
def test_samples_from_pure_noise_have_the_datas_moments(sampler, steps):
    """At T = 300; DDIM's last jump, from no signal at all, starts from the mean of the data and is exact in the limit."""
    count, diffusion = 10_000, diffusion_of(NORMAL.predict, TO_ZERO["linear"](300), "v", ExactVariance(NORMAL))
    kind = Ancestral if sampler == "ancestral" else Ddim
    more = {} if sampler == "ancestral" else {"eta": 0.0}
    x = kind(steps=steps, count=count, clip_x0=False, guidance=1.0, **more).sample(diffusion, (2,), seed=0).double()
    slack = 0.02 if steps is None or sampler == "ancestral" else 0.12
    assert bool(((x.mean(0) - NORMAL.mean).abs() < 4.5 * (NORMAL.var / count).sqrt() + slack).all())
    assert bool(((x.var(0) / NORMAL.var - 1).abs() < 4.5 * math.sqrt(2 / count) + 2 * slack).all())


class Score(Parameterization):
    def coefficients(self, step: Step) -> Coefficients:
        sigma = step.t.sigma
        return Coefficients(torch.zeros_like(sigma), -sigma, step.t.alpha * sigma)


def test_a_target_without_x0_is_refused_in_one_sentence_whoever_wrote_it(monkeypatch):
    for kind in RECOVERING:
        check_recovers(kind, PARAMETERIZATIONS[kind], TO_ZERO["cosine"](30))
    for name, kind in (("eps", PARAMETERIZATIONS["eps"]), ("mine.score", Score())):
        check_recovers(name, kind, SCHEDULES["cosine"](30))
        with pytest.raises(NotDefined, match=f"parameterization={name} .* t = 30 .* parameterization=v"):
            check_recovers(name, kind, TO_ZERO["cosine"](30))
    plugin = types.ModuleType("mine.score")
    plugin.Score = type("Score", (Score,), {"__module__": plugin.__name__})  # type: ignore[attr-defined]
    for module in (types.ModuleType("mine"), plugin):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    config = config_of(["schedule.zero_terminal=true", "schedule.T=30", "tracker=none"])
    with pytest.raises(NotDefined, match="says nothing of x_0 at t = 30"):
        assemble({**config, "parameterization": {"name": "mine.score"}})


def test_the_posterior_and_the_marginal_agree_at_the_end():
    """x_s drawn by way of x_T, which knows nothing, has the moments of q(x_s|x_0)."""
    schedule = TO_ZERO["sigmoid"](12)
    step = schedule.step(torch.tensor([12]))
    x0, _ = random_pair((1, 3))
    posterior, marginal = Gaussian().posterior(x0, torch.zeros_like(x0), step), Gaussian().marginal(x0, step.s)
    torch.testing.assert_close(posterior.mean, marginal.mean, rtol=1e-15, atol=0)
    torch.testing.assert_close(posterior.log_var, column(step.s.log_var, x0), rtol=0, atol=0)
