"""Estimates of the bound and their ledger: unbiased, additive, with the right errors, whatever the batches."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from difflab.bound.base import Design
from difflab.bound.estimate import Estimate
from difflab.bound.estimator import Examples, Extras, evaluate, evaluate_modes
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.insight import optimal_variance_bound
from difflab.bound.ledger import Ledger, build, save_terms
from difflab.bound.noise import key, normal
from difflab.bound.stratified import Stratified
from difflab.bound.sums import add_up
from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.learned_range import LearnedRange
from tests.analytic import NORMAL, TableVariance, cosine, diffusion_of, linear, shrinking, terms_at

T, DIMS = 12, 6


def exhaustive(draws: int = 1, batch_size: int = 512, clip_x0: bool = False, examples: int | None = None) -> Exhaustive:
    return Exhaustive(examples=examples, draws=draws, target_se=None, clip_x0=clip_x0, seed=3, batch_size=batch_size)


def stratified(draws: int = 1, times: int = 3, exact_steps: int = 2, seed: int = 3) -> Stratified:
    return Stratified(
        examples=None,
        draws=draws,
        times=times,
        exact_steps=exact_steps,
        last_steps=0,
        target_se=None,
        clip_x0=False,
        seed=seed,
        batch_size=512,
    )


def data(n: int = 30, levels: int = 17) -> Examples:
    generator = torch.Generator().manual_seed(5)
    x0 = 2 * torch.randint(0, levels, (n, DIMS), generator=generator) / (levels - 1) - 1
    return Examples(x0, 100 + 3 * torch.arange(n))


def model(parameterization: str = "v"):
    return diffusion_of(shrinking, cosine(T), parameterization, LearnedRange(), DiscretizedGaussian(17), head=0.4)


def run(design: Design, examples: Examples | None = None) -> Estimate:
    return evaluate(model(), examples or data(), design)


def each(estimate: Estimate) -> np.ndarray:
    """The bound of each example, nats."""
    return estimate.totals().mean(1)


def test_an_estimate_holds_exactly_the_terms_of_its_plan():
    examples, estimate = data(), run(exhaustive(draws=2))
    block = estimate.whole()
    plan = block.plan
    eps = normal(key(3, examples.index[plan.example], plan.t, plan.draw), (DIMS,))
    term = terms_at(model(), examples.x[plan.example], eps, plan.t)
    for name in ("nats", "mean_error", "variance_mismatch"):
        np.testing.assert_allclose(block.column(name), getattr(term, name).numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_bound_does_not_depend_on_the_evaluation_batch(batch_size):
    whole, parts = run(exhaustive()), run(exhaustive(batch_size=batch_size))
    np.testing.assert_allclose(parts.totals(), whole.totals(), rtol=1e-6)


@pytest.mark.parametrize("design", [exhaustive(draws=2), stratified(draws=2)], ids=["exhaustive", "stratified"])
def test_the_bound_of_an_example_does_not_depend_on_the_order_or_company(design):
    examples, order = data(), torch.randperm(30, generator=torch.Generator().manual_seed(1))
    whole = run(design)
    shuffled = run(design, Examples(examples.x[order], examples.index[order]))
    np.testing.assert_allclose(shuffled.totals(), whole.totals()[order.numpy()], rtol=1e-6)
    alone = run(design, Examples(examples.x[4:5], examples.index[4:5]))
    np.testing.assert_allclose(alone.totals(), whole.totals()[4:5], rtol=1e-6)


def test_examples_limits_to_the_first_of_the_split():
    few = run(exhaustive(examples=4))
    assert few.examples == 4 and few.nfe == 4 * T
    np.testing.assert_allclose(few.totals(), run(exhaustive()).totals()[:4], rtol=1e-6)


def test_two_clip_modes_share_their_network_calls_and_equal_two_evaluations():
    calls = []

    def wild(x, level):
        return 2 * torch.tanh(x)

    diffusion = diffusion_of(wild, cosine(T), "eps", FixedBeta(ddpm_t1=False), DiscretizedGaussian(17))
    network = diffusion.model

    def counting(x_t, log_snr, cond):
        calls.append(len(x_t))
        return network(x_t, log_snr, cond)

    both = evaluate_modes(
        replace(diffusion, model=counting), data(), exhaustive(), "cpu", {False: Extras(), True: Extras()}
    )
    assert sum(calls) == 30 * T
    for estimate, clip in zip(both, (False, True), strict=True):
        assert estimate.clip_x0 is clip
        np.testing.assert_array_equal(estimate.totals(), evaluate(diffusion, data(), exhaustive(clip_x0=clip)).totals())
    assert (both[1].totals() < both[0].totals()).all()


def test_progress_is_reported_and_may_stop_the_evaluation():
    seen = []
    evaluate(model(), data(), exhaustive(batch_size=100), on_batch=lambda done, total: seen.append((done, total)))
    assert seen == [(96, 360), (192, 360), (288, 360), (360, 360)]  # whole examples: 8 of 12 rows fit into 100

    def stop(done, total):
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        evaluate(model(), data(), exhaustive(), on_batch=stop)


@pytest.mark.parametrize("design", [stratified(), stratified(times=1, exact_steps=0), stratified(draws=2, times=4)])
def test_stratified_estimates_the_exhaustive_bound_without_bias(design):
    """Same mean as the exhaustive sum over 2,000 copies of one example (ids differ), within 4.5 standard errors."""
    examples = Examples(data(1).x.expand(2000, -1), torch.arange(2000))
    full, drawn = run(exhaustive(), examples), run(design, examples)
    a, b = each(full), each(drawn)
    assert abs(a.mean() - b.mean()) < 4.5 * math.sqrt(a.var() / 2000 + b.var() / 2000)
    rows, expected = build(drawn).columns, build(full).columns
    error = np.hypot(rows["bpd_se"], expected["bpd_se"])[:-1]
    assert (np.abs(rows["bpd"] - expected["bpd"])[:-1] < 4.5 * error).all()  # and so is every row


DESIGNS = {
    "exhaustive": exhaustive(),
    "two draws": exhaustive(draws=2),
    "stratified": stratified(),
    "stratified, three draws": stratified(draws=3),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_the_ledgers_rows_add_up_to_its_totals(name):
    ledger = build(run(DESIGNS[name]))
    rows, totals = ledger.columns, ledger.totals
    assert rows["t"].tolist() == [*range(1, T + 1), T]
    assert rows["term"].tolist() == ["decoder_nll"] + ["transition_kl"] * (T - 1) + ["prior_kl"]
    assert rows["bpd"].sum() == pytest.approx(totals["bpd"], rel=1e-12)
    for term in ("decoder_nll", "transition_kl", "prior_kl"):
        assert rows["bpd"][rows["term"] == term].sum() == pytest.approx(totals[term], rel=1e-12)
    assert totals["decoder_nll"] + totals["transition_kl"] + totals["prior_kl"] == pytest.approx(totals["bpd"])
    for part in ("mean_error", "variance_mismatch"):
        assert np.nansum(rows[f"{part}_bpd"]) == pytest.approx(totals[part], rel=1e-12)
        assert np.isnan(rows[f"{part}_bpd"][[0, -1]]).all()
    assert totals["mean_error"] + totals["variance_mismatch"] == pytest.approx(totals["transition_kl"], rel=1e-6)
    assert totals["examples"] == 30 and totals["nfe"] == rows["count"][:-1].sum()


def brute_force(estimate: Estimate) -> np.ndarray:
    """[examples, draws, T]: what each draw alone says of each term, bits/dim, 0 where it has no row."""
    block, D = estimate.whole(), estimate.draws
    plan, nats = block.plan, block.column("nats")
    cube = np.zeros((estimate.examples, D, T))
    for i in range(estimate.nfe):
        where = int(plan.example[i]), int(plan.draw[i]), int(plan.t[i]) - 1
        cube[where] += float(plan.weight[i]) * D * nats[i]
    return cube / (DIMS * math.log(2))


@pytest.mark.parametrize("name", DESIGNS)
def test_standard_errors_and_their_split_equal_brute_force(name):
    estimate = run(DESIGNS[name])
    ledger, cube, n = build(estimate), brute_force(estimate), 30
    rows, totals = ledger.columns, ledger.totals
    np.testing.assert_allclose(rows["bpd"][:-1], cube.mean((0, 1)), rtol=1e-10)
    se = cube.mean(1).std(0, ddof=1) / math.sqrt(n)
    np.testing.assert_allclose(rows["bpd_se"][:-1], se, rtol=1e-8)
    total = estimate.prior_kl / (DIMS * math.log(2)) + cube.sum(2).mean(1)
    assert totals["bpd_se"] == pytest.approx(total.std(ddof=1) / math.sqrt(n), rel=1e-10)
    assert totals["decoder_nll_se"] == pytest.approx(se[0], rel=1e-8)
    assert totals["transition_kl_se"] == pytest.approx(cube[:, :, 1:].sum(2).mean(1).std(ddof=1) / math.sqrt(n))
    if estimate.draws == 1:
        assert np.isnan(rows["se_noise"][:-1]).all() and "bpd_se_noise" not in totals
        return
    noise = cube.var(1, ddof=1).mean(0) / estimate.draws / n
    np.testing.assert_allclose(rows["se_noise"][:-1], np.sqrt(noise), rtol=1e-7, atol=1e-12)
    between = np.sqrt(np.maximum(se**2 - noise, 0))
    np.testing.assert_allclose(rows["se_between"][:-1], between, rtol=1e-6, atol=1e-9)
    assert totals["bpd_se_noise"] == pytest.approx(math.sqrt(cube.sum(2).var(1, ddof=1).mean() / estimate.draws / n))
    assert totals["bpd_se_noise"] ** 2 + totals["bpd_se_between"] ** 2 == pytest.approx(totals["bpd_se"] ** 2)


def test_the_standard_error_predicts_the_spread_over_seeds():
    """Noise part: 40 evaluations of the same examples with other seeds scatter by se_noise (chi-squared, 0.999)."""
    noise = build(run(stratified(draws=4))).totals["bpd_se_noise"]
    values = [build(run(stratified(draws=4, seed=1000 + seed))).totals["bpd"] for seed in range(40)]
    ratio = np.var(values, ddof=1) / noise**2
    assert 0.4 < ratio < 2.1


def test_one_example_has_no_standard_error_but_a_bound():
    ledger = build(run(exhaustive(), data(1)))
    assert math.isnan(ledger.totals["bpd_se"]) and math.isfinite(ledger.totals["bpd"])
    assert np.isnan(ledger.columns["bpd_se"]).all()


def test_errors_of_x0_and_eps_are_those_of_the_prediction():
    examples, estimate = data(), run(exhaustive())
    ledger, plan = build(estimate), estimate.whole().plan
    eps = normal(key(3, examples.index[plan.example], plan.t, plan.draw), (DIMS,)).double()
    x0 = examples.x[plan.example].double()
    level = cosine(T).level(plan.t)
    alpha, sigma = level.alpha[:, None], level.sigma[:, None]
    x_t = alpha * x0 + sigma * eps
    error = x0 - shrinking(x_t, level)
    eps_error = (x_t - alpha * shrinking(x_t, level)) / sigma - eps
    for name, value in (("mse_x0", error), ("mse_eps", eps_error)):
        expected = value.square().mean(1).reshape(30, T).mean(0)
        np.testing.assert_allclose(ledger.columns[name][:-1], expected.numpy(), rtol=1e-4)


def test_a_saved_ledger_is_read_back_bit_by_bit(tmp_path):
    ledger = build(run(exhaustive(draws=2)))
    path = ledger.save(tmp_path / "bound" / "step_00000001.csv")
    loaded = Ledger.load(path, ledger.totals)
    assert loaded.unit == ledger.unit and list(loaded.columns) == list(ledger.columns)
    for name, column in ledger.columns.items():
        np.testing.assert_array_equal(loaded.columns[name], column, err_msg=name)
        assert loaded.columns[name].dtype.kind == column.dtype.kind
    with open(path) as file:
        assert "nan" not in file.read().lower()
    with open(path) as file:
        assert len(list(csv.reader(file))) == T + 2


@pytest.mark.parametrize("name", DESIGNS)
def test_saved_terms_give_back_the_totals(name, tmp_path):
    estimate = run(DESIGNS[name])
    terms = np.load(save_terms(estimate, tmp_path / "terms.npz"))
    np.testing.assert_array_equal(terms["total"], each(estimate))
    np.testing.assert_array_equal(terms["index"], data().index.numpy())
    if "nats" in terms and terms["nats"].ndim == 2:
        np.testing.assert_allclose(terms["nats"].sum(1), each(estimate), rtol=1e-5)
    else:
        sums = np.bincount(terms["example"], terms["nats"].astype(float) * terms["weight"]) + terms["prior_kl"]
        np.testing.assert_allclose(sums, each(estimate), rtol=1e-5)


def test_continuous_data_is_reported_in_nats_per_dim():
    x0 = NORMAL.mean + NORMAL.var.sqrt() * torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).double()
    diffusion = diffusion_of(NORMAL.predict, linear(21))
    ledger = build(evaluate(diffusion, Examples(x0.float(), torch.arange(20)), exhaustive()))
    assert "nats_per_dim" in ledger.columns and "mean_error_nats_per_dim" in ledger.columns
    assert "nats_per_dim_se" in ledger.totals and "bpd" not in ledger.totals


def normal_examples(n: int) -> Examples:
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(0)).double()
    return Examples((NORMAL.mean + NORMAL.var.sqrt() * z).float(), torch.arange(n))


def test_the_estimated_bound_of_gaussian_data_tends_to_its_entropy():
    schedule = cosine(100)
    estimate = evaluate(diffusion_of(NORMAL.predict, schedule), normal_examples(3000), exhaustive(batch_size=50_000))
    totals = build(estimate).totals
    best = NORMAL.best_bound(schedule) / 2
    # 0.0035 nats/dim above the optimum at T = 100 (test_theory: like 1 / T), within 4 standard errors
    assert abs(totals["nats_per_dim"] - best - 0.0035) < 4 * totals["nats_per_dim_se"] < 0.08


def test_the_optimal_variance_bound_is_that_of_the_model_with_the_fitted_variance():
    """Fit v* on one half, score on the other: rebuilt by hand with a variance table and a second evaluation."""
    schedule, examples = linear(30), normal_examples(200)
    estimate = evaluate(diffusion_of(NORMAL.predict, schedule), examples, exhaustive())
    value, se = optimal_variance_bound(estimate)
    block = estimate.whole()
    totals, t = np.zeros(200), block.plan.t.numpy()
    step = schedule.step(torch.arange(1, 31))
    for half in (0, 1):
        fit = block.plan.example.numpy() % 2 != half
        mse_mu = np.array([block.column("mse_x0")[fit & (t == u)].mean() for u in range(1, 31)])
        v = step.log_beta_tilde.exp() + step.c0**2 * torch.tensor(mse_mu)
        table = torch.cat([torch.zeros(1).double(), torch.log(v) - step.log_beta_tilde])
        table[1] = step.log_ratio[0]  # L_0 is the model's own: beta_1
        refitted = evaluate(
            diffusion_of(NORMAL.predict, schedule, "v", TableVariance(schedule, table)), examples, exhaustive()
        )
        totals[half::2] = each(refitted)[half::2]
    assert value == pytest.approx(totals.mean() / 2, rel=1e-5)
    assert se == pytest.approx(totals.std(ddof=1) / math.sqrt(200) / 2, rel=1e-4)
    own = build(estimate).totals["nats_per_dim"]
    assert value < own


def test_the_optimal_variance_bound_needs_two_examples_and_survives_sparse_times():
    assert math.isnan(optimal_variance_bound(run(exhaustive(), data(1)))[0])
    sparse, full = optimal_variance_bound(run(stratified())), optimal_variance_bound(run(exhaustive()))
    assert abs(sparse[0] - full[0]) < 4.5 * math.hypot(sparse[1], full[1])


@pytest.mark.parametrize("name", DESIGNS)
def test_the_rate_and_its_error_are_those_of_the_examples_own_sums(name):
    estimate = run(DESIGNS[name])
    sums, cube = add_up(estimate), brute_force(estimate).mean(1) * DIMS * math.log(2)  # [examples, T], nats
    for t in range(1, T + 1):
        own = estimate.prior_kl + cube[:, t:].sum(1)  # L_T and the terms of u > t
        assert sums.rate.mean[t - 1] == pytest.approx(own.mean(), rel=1e-9)
        assert sums.rate.se[t - 1] == pytest.approx(own.std(ddof=1) / math.sqrt(30), rel=1e-7)


@pytest.mark.parametrize("name", DESIGNS)
def test_sums_do_not_depend_on_the_blocks_that_are_read_together(name, monkeypatch):
    estimate = run(DESIGNS[name])
    whole = add_up(estimate)
    monkeypatch.setattr("difflab.bound.estimate.CELLS", 100)  # seven examples at most
    parts = add_up(estimate)
    for group in ("group_count", "group_mse_x0", "group_examples", "count", "out_of_range"):
        np.testing.assert_allclose(getattr(parts, group), getattr(whole, group), rtol=1e-12)
    np.testing.assert_allclose(parts.group_totals["nats"], whole.group_totals["nats"], rtol=1e-12)
    for values in ("mean", "se", "noise"):
        np.testing.assert_allclose(
            getattr(parts.per_t["nats"], values), getattr(whole.per_t["nats"], values), rtol=1e-9
        )
    np.testing.assert_allclose(parts.totals_without("nats"), whole.totals_without("nats"), rtol=1e-12)
