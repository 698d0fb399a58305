"""Shorter chains: priced as a K-step evaluation would, chosen as by trying them all."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from itertools import combinations

import numpy as np
import pytest
import torch

from difflab.bound import chain
from difflab.bound.chain import VARIANCES, Jumps, Replicates
from difflab.errors import ConfigError
from difflab.gaussian import BITS, NATS
from difflab.schedule.base import Schedule
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from tests.analytic import NORMAL, Normal, TableVariance, cosine, diffusion_of, expected_terms, linear

DIMS = 2


def errors(schedule: Schedule, data: Normal = NORMAL) -> np.ndarray:
    """E||x0 - x0_hat||^2 / dims of the exact predictor at every t, [T + 1]."""
    levels = schedule.level(torch.arange(1, schedule.T + 1))
    return np.append(math.nan, data.posterior_var(levels).mean(1).numpy())


def random_errors(T: int, seed: int = 0) -> np.ndarray:
    """A predictor that is better at some t than at others, [T + 1]."""
    rng = np.random.default_rng(seed)
    return np.append(math.nan, np.exp(rng.normal(-3, 1.5, T)))


def jumps_of(schedule: Schedule, variance: str, mse: np.ndarray, fit: np.ndarray | None = None) -> Jumps:
    return Jumps(schedule.log_snr.numpy(), mse, mse if fit is None else fit, DIMS, variance)


def kl_in_fifty_digits(log_snr_s: float, log_snr_t: float, d: float, d_fit: float, variance: str) -> float:
    """The formula as it stands in the books, per dimension, where cancellation does no harm."""
    with localcontext() as context:
        context.prec = 50
        s, t = ((1 + Decimal(x).exp()).ln() for x in (log_snr_s, log_snr_t))
        r = {"fixed_beta": s - t, "fixed_beta_tilde": Decimal(0), "optimal": (1 + Decimal(d_fit)).ln()}[variance]
        return float(((-r).exp() * (1 + Decimal(d)) - 1 + r) / 2)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mse", [0.0, 1e-12, 1e-4, 0.7, 1e4])
def test_a_jumps_cost_has_the_formulas_value_to_the_last_digits(variance, mse):
    schedule = cosine(4000)
    log_snr, T = schedule.log_snr.numpy(), schedule.T
    s, t = np.array([1, 2, 1, 20, 1999, 2000, 10, 3999]), np.array([2, 3, T, 21, 2000, 3000, 400, T])
    errors, fit = (np.full(T + 1, x) for x in (mse, 1.1 * mse + 1e-13))
    cost = Jumps(log_snr, errors, fit, 1, variance).cost(s, t)
    # d from the same rounded log-SNRs: what is tested is the arithmetic after them
    truth = []
    for a, b in zip(log_snr[s], log_snr[t], strict=True):
        with localcontext() as context:
            context.prec = 50
            gap = Decimal(a).exp() - Decimal(b).exp()
            d, d_fit = (float(gap * Decimal(x[1])) for x in (errors, fit))
        truth.append(kl_in_fifty_digits(a, b, d, d_fit, variance))
    np.testing.assert_allclose(cost, truth, rtol=1e-10, atol=1e-300)
    assert (cost >= 0).all()


def test_the_variance_part_does_not_cancel():
    k = np.concatenate([sign * np.geomspace(1e-12, 20, 400) for sign in (-1, 1)])
    with localcontext() as context:
        context.prec = 60
        truth = [float(Decimal(x).exp() - 1 - Decimal(x)) for x in k]
    np.testing.assert_allclose(chain.expm1_minus(k), truth, rtol=2e-14)
    assert chain.expm1_minus(np.zeros(1)) == 0


def test_no_signal_at_the_end_is_an_ordinary_level():
    log_snr = np.array([math.inf, 4.0, 0.0, -math.inf])
    mse = np.array([math.nan, 0.01, 0.2, 1.3])
    for variance, expected in {
        "fixed_beta_tilde": 0.5 * 1.3,
        "optimal": 0.5 * math.log1p(1.3),
        "fixed_beta": 0.5 * ((1 + 1.3) / 2 - 1 + math.log(2)),
    }.items():
        assert Jumps(log_snr, mse, mse, 1, variance).cost(np.array(2), np.array(3)) == pytest.approx(expected)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("T", [1, 2, 3, 6, 10])
def test_the_cheapest_chain_is_the_one_found_by_trying_all(variance, T):
    for seed in range(4):
        jumps = jumps_of(cosine(T), variance, random_errors(T, seed))
        found = chain.optimal(chain.cost_matrix(jumps, np.arange(1, T + 1)), T)
        for K in range(min(2, T), T + 1):
            inner = combinations(range(2, T), K - 2) if T > 1 else [()]
            chains = [np.unique([1, *times, T]) for times in inner]
            costs = [float(chain.bound_of(times, jumps, 0.0, 0.0)) for times in chains]
            assert found.totals[K] == pytest.approx(min(costs), rel=1e-13)
            np.testing.assert_array_equal(found.times(K), chains[int(np.argmin(costs))])


def test_the_cheapest_chain_of_arbitrary_costs():
    for seed in range(20):
        n = 8
        cost = np.random.default_rng(seed).normal(size=(n, n))  # no formula's structure, some below 0
        found = chain.optimal(cost, n, levels=10 * np.arange(1, n + 1))
        for K in range(2, n + 1):
            sums = {
                (0, *inner, n - 1): sum(cost[b, a] for a, b in zip((0, *inner), (*inner, n - 1), strict=True))
                for inner in combinations(range(1, n - 1), K - 2)
            }
            best = min(sums, key=lambda places: sums[places])
            assert found.totals[K] == pytest.approx(sums[best], rel=1e-13)
            assert found.times(K).tolist() == [10 * (place + 1) for place in best]


def test_chains_that_do_not_exist_are_refused():
    found = chain.optimal(chain.cost_matrix(jumps_of(cosine(5), "optimal", random_errors(5)), np.arange(1, 6)), 9)
    for K in (0, 1, 6):
        with pytest.raises(ValueError, match=f"no chain of {K} of these 5"):
            found.times(K)
    with pytest.raises(ValueError, match="not finite"):
        chain.optimal(np.full((3, 3), math.nan), 3)
    for K in (1, 6):
        with pytest.raises(ConfigError, match=r"2\.\.5"):
            chain.optimal_times(cosine(5).log_snr.numpy(), random_errors(5), K)
    for times in ([2, 5], [1, 4], [1, 3, 3, 5]):
        with pytest.raises(ValueError, match="t = T = 5"):
            chain.bound_of(np.array(times), jumps_of(cosine(5), "optimal", random_errors(5)), 0.0, 0.0)


@pytest.mark.parametrize("K", [2, 7, 100, 1000, 1500])
def test_long_chains_choose_among_fewer_levels(K):
    schedule = cosine(1500)
    levels = chain.candidates(1500)
    assert len(levels) == 1000 == len(np.unique(levels)) and levels[0] == 1 and levels[-1] == 1500
    assert levels[:500].tolist() == list(range(1, 501)) and set(np.diff(levels[500:])) == {2, 3}
    times = chain.optimal_times(schedule.log_snr.numpy(), errors(schedule), K)
    assert len(times) == K and times[0] == 1 and times[-1] == 1500 and (np.diff(times) > 0).all()


def test_between_the_candidates_and_T_there_is_no_optimal_chain():
    with pytest.raises(ConfigError, match=r"2\.\.1000 or 1500"):
        chain.optimal_times(cosine(1500).log_snr.numpy(), errors(cosine(1500)), 1200)


def test_even_times_are_the_schedules():
    for T in (1, 2, 3, 10, 63, 64, 1000):
        schedule = Schedule(torch.cat([torch.tensor([torch.inf]), -torch.arange(T, dtype=torch.float64)]))
        for K in range(1, T + 1):
            np.testing.assert_array_equal(chain.even(T, K), schedule.even(K).numpy())
    for K in (0, 11):
        with pytest.raises(ConfigError, match=r"1\.\.10"):
            chain.even(10, K)


@pytest.mark.parametrize("make", [cosine, linear])
def test_a_constant_prediction_costs_the_same_by_every_way_under_fixed_beta_tilde(make):
    """Theory, section 9: 1/2 (SNR_s - SNR_t) ||x_0 - a||^2 telescopes; with v = beta it does not."""
    T, mse = 300, 0.37
    schedule = make(T)
    constant = np.full(T + 1, mse)
    snr = np.exp(schedule.log_snr.numpy())
    for variance, same in (("fixed_beta_tilde", True), ("fixed_beta", False), ("optimal", False)):
        jumps = jumps_of(schedule, variance, constant)
        costs = [float(chain.bound_of(chain.even(T, K), jumps, 0.0, 0.0)) for K in (2, 3, 17, 150, T)]
        if same:
            np.testing.assert_allclose(costs, 0.5 * DIMS * (snr[1] - snr[T]) * mse, rtol=1e-11)
        else:
            assert np.ptp(costs) > 0.01 * costs[0]


@pytest.mark.parametrize("times", [list(range(1, 41)), [1, 2, 5, 11, 40], [1, 40]])
@pytest.mark.parametrize("make", [cosine, linear])
def test_a_claimed_bound_is_the_respaced_models_own(make, times):
    """Every term of a chain evaluated with the same predictor, by quadrature, against the price of its jumps."""
    schedule = make(40)
    short, places = schedule.respace(torch.tensor(times)), np.array(times)
    mse = errors(schedule)
    d = np.exp(short.log_snr[:-1].numpy()) - np.exp(short.log_snr[1:].numpy())
    added = torch.tensor(np.append(0.0, np.log1p(d * mse[places])))  # row 1 is not looked at here
    added[1] = 0
    models = {
        "fixed_beta": FixedBeta(ddpm_t1=False),
        "fixed_beta_tilde": FixedBetaTilde(),
        "optimal": TableVariance(short, added),
    }
    for variance, model in models.items():
        terms = expected_terms(diffusion_of(NORMAL.predict, short, "v", model), NORMAL.nodes()).numpy()
        jumps = jumps_of(schedule, variance, mse)
        np.testing.assert_allclose(jumps.cost(places[:-1], places[1:]), terms[1:], rtol=1e-9)
        bound = chain.bound_of(places, jumps, 0.25, terms[0])
        assert float(bound) == pytest.approx(0.25 + terms.sum(), rel=1e-9)


@pytest.mark.parametrize("K", [2, 3, 10, 60])
def test_with_the_optimal_variance_isotropic_gaussian_data_need_no_more_than_two_steps(K):
    """log(1 + (SNR_s - SNR_t) mse_t) telescopes for the exact predictor: the bound is entropy + prior mismatch for every K."""
    data = Normal(torch.zeros(DIMS, dtype=torch.float64), torch.full((DIMS,), 0.3, dtype=torch.float64))
    schedule = linear(60)
    mse = errors(schedule, data)
    bound = chain.bound_of(chain.even(60, K), jumps_of(schedule, "optimal", mse), 0.0, 0.0)
    decoder_nll = DIMS * 0.5 * math.log(2 * math.pi * math.e * mse[1])  # a density with its best variance
    top = schedule.level(torch.tensor([60]))
    prior_kl = DIMS * float(
        0.5 * (0.3 * top.alpha**2 + top.sigma**2 - 1)
    )  # mean over data; E log-ratio is in q's entropy
    prior_kl -= DIMS * float(torch.log(top.sigma))
    assert float(bound) + decoder_nll + prior_kl == pytest.approx(data.best_bound(schedule), rel=1e-11)


def test_more_steps_never_cost_more_under_the_optimal_variance():
    """Holds where 1 / mse grows at least as fast as SNR, as the exact predictor's does; a network's need not."""
    schedule = linear(200)
    jumps = jumps_of(schedule, "optimal", errors(schedule))
    totals = chain.optimal(chain.cost_matrix(jumps, np.arange(1, 201)), 200).totals[2:]
    assert (np.diff(totals) < 1e-12).all() and totals[-1] < totals[0] - 0.1


def table(schedule: Schedule, mse, fit, decoder=1.5, **more):
    nll = {name: decoder + 0.1 * k for k, name in enumerate(VARIANCES)}
    return chain.table(schedule.log_snr.numpy(), mse, fit, DIMS, 0.2, nll, more.pop("unit", BITS), **more)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_table_prices_chains_that_keep_both_ends_and_prefers_the_optimal(seed):
    T, mse = 60, random_errors(60, seed)
    columns = table(cosine(T), mse, mse)
    assert set(columns["steps"].tolist()) == {2, 5, 10, 25, 50, 60} and len(columns["steps"]) == 36
    value = {}
    for k, name in enumerate(columns["times"]):
        times = np.array(name.split(), dtype=int)
        variance = str(columns["variance"][k])
        assert len(times) == columns["steps"][k] and times[0] == 1 and times[-1] == T
        nats = 0.2 + 1.5 + 0.1 * list(VARIANCES).index(variance)
        nats += jumps_of(cosine(T), variance, mse).cost(times[:-1], times[1:]).sum()
        assert columns["bpd"][k] == pytest.approx(nats / (DIMS * math.log(2)), rel=1e-12)
        value[variance, int(columns["steps"][k]), str(columns["chain"][k])] = columns["bpd"][k]
    for variance in VARIANCES:
        for K in (5, 10, 25, 50):
            assert value[variance, K, "optimal"] < value[variance, K, "even"]
        for K in (2, T):  # one chain only
            assert value[variance, K, "optimal"] == value[variance, K, "even"]
    for name in ("bpd_se", "evaluated", "evaluated_se", "difference", "difference_se"):
        assert np.isnan(columns[name]).all()


def test_chains_are_chosen_on_the_fit_and_scored_on_what_was_held_out():
    schedule, fit, held_out = cosine(30), random_errors(30, 1), random_errors(30, 2)
    columns = table(schedule, held_out, fit, unit=NATS)
    rows = np.flatnonzero((columns["steps"] == 10) & (columns["chain"] == "optimal"))
    log_snr = schedule.log_snr.numpy()
    assert len(rows) == 3
    for k, (row, variance) in enumerate(zip(rows, VARIANCES, strict=True)):
        times = chain.optimal_times(log_snr, fit, 10, variance)
        assert columns["times"][row] == " ".join(map(str, times))
        s, t = times[:-1], times[1:]
        gap = np.exp(log_snr[s]) - np.exp(log_snr[t])
        r = {"fixed_beta": np.log1p(np.exp(log_snr[s])) - np.log1p(np.exp(log_snr[t])), "fixed_beta_tilde": 0 * gap}
        r["optimal"] = np.log1p(gap * fit[t])
        jump = 0.5 * (np.exp(-r[variance]) * (1 + gap * held_out[t]) - 1 + r[variance])
        assert columns["nats_per_dim"][row] == pytest.approx((1.7 + 0.1 * k) / DIMS + jump.sum(), rel=1e-10)


def test_a_single_step_has_a_row_and_a_diverged_network_no_optimal_chain():
    one = table(cosine(1), np.array([math.nan, 0.3]), np.array([math.nan, 0.3]), unit=NATS)
    assert one["steps"].tolist() == [1] * 6 and one["times"].tolist() == ["1"] * 6
    np.testing.assert_allclose(one["nats_per_dim"], np.repeat([1.7, 1.8, 1.9], 2) / DIMS)
    lost = np.full(31, math.nan)
    diverged = table(cosine(30), lost, lost)
    assert set(diverged["chain"]) == {"even"} and np.isnan(diverged["bpd"]).all()


def test_standard_errors_are_the_jackknifes():
    schedule, fit = cosine(12), random_errors(12)
    rng = np.random.default_rng(3)
    groups = np.exp(rng.normal(-3, 1, (6, 13)))  # the mean error of each group of examples
    prior, decoder = rng.normal(0.2, 0.02, 6), {name: rng.normal(1, 0.1, 6) for name in VARIANCES}

    def without(values: np.ndarray) -> np.ndarray:
        return np.stack([np.delete(values, g, 0).mean(0) for g in range(6)])

    replicates = Replicates(without(groups), without(prior), {name: without(x) for name, x in decoder.items()})
    mean_nll = {name: float(x.mean()) for name, x in decoder.items()}
    log_snr = schedule.log_snr.numpy()
    columns = chain.table(log_snr, groups.mean(0), fit, DIMS, float(prior.mean()), mean_nll, BITS, replicates)
    for row, variance in enumerate(columns["variance"]):
        times = np.array(columns["times"][row].split(), dtype=int)
        estimates = []
        for g in range(6):
            jumps = Jumps(log_snr, np.delete(groups, g, 0).mean(0), fit, DIMS, str(variance))
            nll = np.delete(decoder[str(variance)], g).mean()
            estimates.append(float(chain.bound_of(times, jumps, np.delete(prior, g).mean(), nll)))
        se = math.sqrt(5 / 6 * sum((x - np.mean(estimates)) ** 2 for x in estimates)) / (DIMS * math.log(2))
        assert columns["bpd_se"][row] == pytest.approx(se, rel=1e-9)


def test_a_single_group_has_no_standard_error():
    schedule, mse = cosine(12), random_errors(12)
    one = Replicates(mse[None], np.array([0.2]), {name: np.array([1.5]) for name in VARIANCES})
    assert np.isnan(table(schedule, mse, mse, replicates=one)["bpd_se"]).all()


def test_a_long_chain_has_optimal_rows_where_the_search_reaches():
    schedule = cosine(1200)
    columns = table(schedule, errors(schedule), errors(schedule), steps=(3, 1100))
    lengths = {kind: sorted(set(columns["steps"][columns["chain"] == kind].tolist())) for kind in ("even", "optimal")}
    assert lengths == {"even": [3, 1100, 1200], "optimal": [3, 1200]}
