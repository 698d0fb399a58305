"""Continuous time: the integral over log SNR against closed forms, drawn levels against the integral."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from difflab.bound import ledger
from difflab.bound.estimator import Examples, evaluate
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.noise import key, normal, uniform
from difflab.bound.stratified import Stratified
from difflab.bound.sums import add_up
from difflab.bound.terms import Term, bound_term
from difflab.decoder.gaussian import Gaussian as GaussianDensity
from difflab.diffusion import Diffusion
from difflab.errors import ConfigError, NotDefined
from difflab.process.gaussian import Gaussian
from difflab.schedule._continuous import Continuous, scheduled
from difflab.schedule.base import Level, Schedule, Step
from difflab.schedule.linear_abar import LinearAbar
from difflab.timestep.full_chain import FullChain
from difflab.variance.base import Variance
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from tests.analytic import (
    NORMAL,
    PARAMETERIZATIONS,
    SCHEDULES,
    TO_ZERO,
    Predictor,
    column,
    constant,
    cosine,
    diffusion_of,
    expected_terms,
    linear,
    log_linear,
    random_pair,
    shrinking,
)

KINDS = [kind for kind in PARAMETERIZATIONS if kind != "mu"]
CHAINS: dict[str, Callable[[int], Schedule]] = {
    **SCHEDULES, **{f"{name} to zero": make for name, make in TO_ZERO.items()}, "linear_abar": lambda T: LinearAbar(T=T),
}  # fmt: skip
Pair = tuple[Tensor, Tensor]


def legendre(nodes: int) -> Pair:
    """(u in (0, 1), weights)."""
    u, w = np.polynomial.legendre.leggauss(nodes)
    return torch.tensor((u + 1) / 2), torch.tensor(w / 2)


class ExactDecoder(Variance):
    """Var(x0|x_1) per dimension at t = 1, which decides L_0; elsewhere whatever it likes, for nothing else may enter."""

    heads = 1

    def __init__(self, elsewhere: float) -> None:
        self.elsewhere = elsewhere

    def excess(self, output: Tensor | None, step: Step) -> Tensor:
        first = torch.log(NORMAL.posterior_var(step.t)) - step.first_log_var[:, None]
        return torch.where(step.is_first[:, None], first, self.elsewhere * step.log_ratio[:, None])


@dataclass(frozen=True)
class Knows:
    """A network that says x0_hat at whatever level, in its parameterization's words."""

    predict: Predictor
    kind: str

    def __call__(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.said(x_t.double(), Level(log_snr.double())).to(x_t)

    def said(self, x: Tensor, level: Level) -> Tensor:
        x0_hat = self.predict(x, level)
        eps_hat = (x - column(level.alpha, x) * x0_hat) / column(level.sigma, x)
        p, q, _ = PARAMETERIZATIONS[self.kind].coefficients(Step(level, level, level.log_snr, level))
        return column(p, x) * x0_hat + column(q, x) * eps_hat


def terms(
    schedule: Schedule, predict: Predictor, pair: Pair, u: Tensor, kind: str = "v", variance: Variance | None = None
) -> Term:
    """Each term of each pair (x0, eps) at the places u: [pairs, T, len(u)], float64."""
    (x0, eps), T, n = pair, schedule.T, len(u)
    t = torch.arange(1, T + 1).repeat_interleave(n).repeat(len(x0))
    x0, eps = (x.double().repeat_interleave(T * n, 0) for x in (x0, eps))
    step = schedule.drawn(t, u.repeat(T * len(pair[0])))
    x_t, variance = Gaussian().noised(x0, step.t, eps), variance or FixedBeta(ddpm_t1=False)
    raw = Knows(predict, kind).said(x_t, step.t)
    raw = torch.cat([raw, raw], 1) if variance.heads else raw
    prediction = Gaussian().read(raw, x_t, step, PARAMETERIZATIONS[kind], variance)
    return Term(*(values.reshape(-1, T, n) for values in bound_term(GaussianDensity(), prediction, x0, eps)))


def integrals(schedule: Schedule, predict: Predictor, pair: Pair, nodes: int = 12, **given: Any) -> Tensor:
    """The terms of each pair, [pairs, T], the place of the level integrated out."""
    u, w = legendre(nodes)
    return terms(schedule, predict, pair, u, **given).nats @ w


def expected(schedule: Schedule, nodes: int, elsewhere: float = 0.0) -> float:
    """The bound of Gaussian data by the exact predictor and decoder."""
    x0, eps, weight = NORMAL.nodes()
    prior = Gaussian().prior_kl(x0, schedule.level(torch.full((len(x0),), schedule.T)))
    each = integrals(schedule, NORMAL.predict, (x0, eps), nodes, variance=ExactDecoder(elsewhere)).sum(1)
    return float((weight * (prior + each)).sum())


@pytest.mark.parametrize("name", CHAINS)
def test_the_bound_of_gaussian_data_is_entropy_plus_prior_mismatch(name: str) -> None:
    """The exact predictor leaves nothing else, whatever variance the steps would have and however few the intervals are."""
    for T, nodes in ((25, 16), (3, 64)):
        if T == 3 and name.startswith("linear") and name != "linear_abar":
            continue
        schedule = Continuous(CHAINS[name](T))
        for elsewhere in (0.0, 3.0):
            assert expected(schedule, nodes, elsewhere) == pytest.approx(NORMAL.best_bound(schedule), abs=1e-10), T


FAMILIES = [(name, FixedBeta(ddpm_t1=False)) for name in SCHEDULES] + [("log_linear", FixedBetaTilde())]


@pytest.mark.parametrize(("name", "variance"), FAMILIES)
def test_the_transitions_of_finite_chains_tend_to_it_like_one_over_T(name: str, variance: Variance) -> None:
    """From above, between equal ends. (v = beta_tilde does where every step of the schedule becomes short.)"""
    gaps = []
    for T in (50, 100, 200):
        chain, (x0, eps, weight) = SCHEDULES[name](T), NORMAL.nodes()
        finite = expected_terms(diffusion_of(NORMAL.predict, chain, "v", variance), (x0, eps, weight))
        limit = weight @ integrals(Continuous(chain), NORMAL.predict, (x0, eps), 16)
        gaps.append(float(finite[1:].sum() - limit[1:].sum()))
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.1) and gaps[1] / gaps[2] == pytest.approx(2, rel=0.05)


def test_the_schedules_interior_does_not_enter() -> None:
    """Between equal ends linear, cosine, log_linear and any number of intervals give every (x0, eps) the same bound."""
    pair, found = random_pair((5, 3)), []
    for make, T in ((linear, 60), (cosine, 40), (log_linear, 30), (log_linear, 45)):
        inner = make(T).log_snr[1:]
        inner = -5 + 12 * (inner - inner[-1]) / (inner[0] - inner[-1])
        inner[0], inner[-1] = 7, -5
        schedule = Continuous(Schedule(torch.cat([torch.tensor([torch.inf]).double(), inner])))
        found.append(integrals(schedule, shrinking, pair, 30).sum(1))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", CHAINS)
def test_every_parameterization_has_the_same_terms(name: str) -> None:
    schedule, pair, u = Continuous(CHAINS[name](30)), random_pair((4, 3)), torch.tensor([0.0, 0.3, 0.9]).double()
    one = terms(schedule, shrinking, pair, u, "v")
    for kind in KINDS:
        other = terms(schedule, shrinking, pair, u, kind)
        torch.testing.assert_close(other.nats, one.nats, rtol=1e-7, atol=0)
        assert bool((other.variance_mismatch == 0).all()) and bool((other.mean_error[:, 1:] > 0).all())


def test_a_term_is_half_the_width_times_the_squared_error_of_eps() -> None:
    schedule, (x0, eps) = Continuous(cosine(8)), random_pair((1, 3))
    found = terms(schedule, shrinking, (x0, eps), torch.tensor([0.25]).double()).nats[0, 1:, 0]
    for t, nats in enumerate(found.tolist(), 2):
        high, low = schedule.log_snr[t - 1], schedule.log_snr[t]
        level = Level((high - 0.25 * (high - low))[None])
        x_t = Gaussian().noised(x0, level, eps)
        eps_hat = (x_t - level.alpha * shrinking(x_t, level)) / level.sigma
        assert nats == pytest.approx(float(0.5 * (high - low) * (eps - eps_hat).square().sum()), rel=1e-10)


def test_a_constant_prediction_has_the_integral_in_closed_form() -> None:
    """1/2 (SNR_s - SNR_t) ||x0 - a||^2 of each interval, the last one, which is endless, included."""
    schedule, (x0, eps) = Continuous(TO_ZERO["cosine"](20)), random_pair((3, 4))
    snr = torch.exp(schedule.log_snr[1:])
    wanted = 0.5 * (snr[:-1] - snr[1:]) * (x0 - 0.2).square().sum(1, keepdim=True)
    torch.testing.assert_close(integrals(schedule, constant(0.2), (x0, eps), 40)[:, 1:], wanted, rtol=1e-10, atol=0)


@pytest.mark.parametrize("make", [cosine, TO_ZERO["cosine"]])
def test_levels_lie_in_their_intervals_and_the_first_is_the_chains_own(make: Callable[[int], Schedule]) -> None:
    chain, T = make(9), 9
    t, u = torch.arange(1, T + 1).repeat(200), torch.rand(200 * T, dtype=torch.float64)
    u[:T], u[T : 2 * T] = 0, 1 - 2**-53  # the ends of what is drawn
    step = Continuous(chain).drawn(t, u)
    assert torch.equal(step.is_first, t == 1)
    inside = (step.t.log_snr <= chain.log_snr[t - 1]) & (step.t.log_snr >= chain.log_snr[t])
    assert bool(inside.all()) and bool(step.t.log_snr.isfinite().all()) and bool((step.c > 0).all())
    first, own = step[(t == 1).nonzero()[:, 0]], chain.step(torch.ones(200, dtype=torch.int64))
    for name in ("c", "c0", "ct", "log_beta", "log_beta_tilde", "log_ratio"):
        assert torch.equal(getattr(first, name), getattr(own, name)), name
    assert type(first) is type(step)  # some of its rows are instants, too


def test_a_chain_draws_nothing_and_samplers_walk_along_the_edges() -> None:
    chain, t = cosine(9), torch.arange(1, 10)
    edges = Continuous(chain)
    for made in (
        chain.drawn(t, torch.rand(9)),
        edges.step(t),
        edges.respace(t).step(t),
        edges.respace(t).drawn(t, t / 10),
    ):
        assert type(made) is Step and torch.equal(made.t.log_snr, chain.log_snr[1:])
        assert torch.equal(made.log_beta_tilde, chain.step(t).log_beta_tilde)
    assert not chain.continuous and not edges.respace(t).continuous
    assert (chain.label, edges.label, edges.T) == (9, "inf", 9)


# -- drawn ----------------------------------------------------------------------------------------------------------


def model(predict: Predictor, schedule: Schedule) -> Diffusion:
    parts = (Gaussian(), schedule, PARAMETERIZATIONS["v"], FixedBeta(ddpm_t1=False), GaussianDensity())
    return Diffusion(Knows(predict, "v"), *parts)


COMMON = {"examples": None, "target_se": None, "clip_x0": False, "seed": 3}


def test_sampled_estimates_hold_the_integral_as_often_as_they_say() -> None:
    """Total and rows of 300 repetitions of 100 examples, in one evaluation; Student's t of 99 degrees of freedom is 1.984."""
    schedule, n, repetitions = Continuous(log_linear(6, first=6.0)), 100, 300
    z = torch.randn(n * repetitions, 2, generator=torch.Generator().manual_seed(2)).double()
    x = (NORMAL.mean + NORMAL.var.sqrt() * z).float()
    design = Stratified(draws=1, times=2, exact_steps=2, last_steps=0, batch_size=1 << 16, **COMMON)
    estimate = evaluate(model(NORMAL.predict, schedule), Examples(x, torch.arange(len(x))), design)
    x0, eps, weight = NORMAL.nodes()
    truth = weight @ integrals(schedule, NORMAL.predict, (x0, eps), 40)
    prior = float((weight * Gaussian().prior_kl(x0, schedule.level(torch.full((len(x0),), 6)))).sum())
    totals = estimate.totals()[:, 0].reshape(repetitions, n)
    se = totals.std(1, ddof=1) / math.sqrt(n)
    held = np.abs(totals.mean(1) - float(truth.sum()) - prior) < 1.984 * se
    assert 0.91 < held.mean() < 0.98  # 0.95 give or take 3 of its errors
    rows = add_up(estimate).per_t["nats"]
    deviations = (rows.mean[1:] - truth.numpy()) / rows.se[1:]
    assert np.abs(deviations).max() < 4 and np.abs(deviations).mean() < 1.6


def test_a_level_is_keyed_by_example_t_and_draw_and_its_noise_is_a_chains() -> None:
    """Whatever the batches are; and the eps of a run with T = strata, so the two are compared on the same noise."""
    seen: list[Tensor] = []

    def watching(x_t: Tensor, log_snr: Tensor, cond: Tensor | None) -> Tensor:
        seen.append(torch.cat([log_snr[:, None], x_t], 1))
        return torch.zeros_like(x_t)

    schedule = Continuous(cosine(5))
    x, index = torch.zeros(4, 3), torch.tensor([7, 3, 11, 4])
    diffusion = model(shrinking, schedule).on(watching)
    values = []
    for batch_size in (512, 3):
        design = Exhaustive(draws=2, batch_size=batch_size, **COMMON)
        values.append(evaluate(diffusion, Examples(x, index), design).rows)
    np.testing.assert_array_equal(*values)
    first = seen[0].reshape(4, 2, 5, 4)
    torch.testing.assert_close(torch.cat(seen[1:]).reshape(4, 2, 5, 4), first, rtol=0, atol=0)
    levels = first[..., 0]
    assert bool((levels[:, :, 0] == schedule.log_snr[1].float()).all())
    assert len(levels[:, :, 1:].unique()) == 4 * 2 * 4
    words = [torch.tensor([w]) for w in (11, 4, 1)]
    u = uniform(key(3, *words, torch.tensor([-3])))
    step = schedule.drawn(words[1], u)
    assert float(levels[2, 1, 3]) == float(step.t.log_snr.float())
    eps = normal(key(3, *words), (3,))
    torch.testing.assert_close(first[2, 1, 3, 1:], (step.t.sigma.float()[:, None] * eps)[0], rtol=1e-6, atol=0)


def test_the_ledger_says_the_mean_error_of_eps_in_each_interval() -> None:
    schedule = Continuous(cosine(6))
    x = random_pair((9, 3), dtype=torch.float32)[0]
    estimate = evaluate(
        model(shrinking, schedule), Examples(x, torch.arange(9)), Exhaustive(draws=3, batch_size=512, **COMMON)
    )
    columns = ledger.build(estimate).columns
    width = columns["log_snr_s"][1:6] - columns["log_snr_t"][1:6]
    np.testing.assert_allclose(columns["nats_per_dim"][1:6], 0.5 * width * columns["mse_eps"][1:6], rtol=1e-6)
    assert columns["mse_eps"][0] == pytest.approx(columns["mse_x0"][0] * math.exp(columns["log_snr_t"][0]), rel=1e-6)


# -- chosen ---------------------------------------------------------------------------------------------------------

NODE = {"name": "linear", "first_beta": 1e-4, "last_beta": 0.02, "zero_terminal": False}


def test_a_schedule_of_a_configuration() -> None:
    made = scheduled({**NODE, "T": "inf"}, 30)
    assert isinstance(made, Continuous) and torch.equal(made.log_snr, linear(30).log_snr)
    assert not scheduled({**NODE, "T": 30}, 5).continuous
    with pytest.raises(ConfigError, match="strata=1 must be at least 2"):
        scheduled({**NODE, "T": "inf"}, 1)
    with pytest.raises(ConfigError, match=r"^strata=20 .*at least 21.*set strata=1000"):
        scheduled({**NODE, "T": "inf"}, 20)


def test_no_path_leads_through_drawn_levels() -> None:
    FullChain(Gaussian(), Continuous(cosine(9)), chunk=2, markov=False)
    with pytest.raises(NotDefined, match="timestep.markov=false"):
        FullChain(Gaussian(), Continuous(cosine(9)), chunk=2, markov=True)
