"""A K-step bound claimed from the whole chain's terms is the K-step bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from difflab.bound import chain
from difflab.bound.bands import Bands
from difflab.bound.estimator import Examples, Extras, evaluate_modes
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.importance import Importance
from difflab.bound.optimal import fit
from difflab.bound.smooth import is_local
from difflab.bound.sums import add_up
from difflab.bound.verify import Claims, affordable, evaluate_chain, verified
from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from difflab.variance.learned_range import LearnedRange
from tests.analytic import NORMAL, cosine, diffusion_of, linear, shrinking
from tests.designs import stratified

T = 60
FIXED = {"fixed_beta": FixedBeta(ddpm_t1=False), "fixed_beta_tilde": FixedBetaTilde()}
EVERYTHING = Exhaustive(examples=None, draws=1, target_se=None, clip_x0=False, seed=3, batch_size=4096)


def pictures(n: int, first: int = 0) -> Examples:
    x0 = torch.randint(0, 17, (n, 1, 4, 4), generator=torch.Generator().manual_seed(first))
    return Examples(2 * x0 / 16 - 1, first + torch.arange(n))


def points(n: int, first: int = 0) -> Examples:
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(first)).double()
    return Examples((NORMAL.mean + NORMAL.var.sqrt() * z).float(), first + torch.arange(n))


CASES = {
    "exact predictor, density": (lambda: diffusion_of(NORMAL.predict, cosine(T)), points),
    "imperfect, on a grid": (
        lambda: diffusion_of(shrinking, linear(T), "v", LearnedRange(), DiscretizedGaussian(17), head=0.4),
        pictures,
    ),
}


@pytest.mark.parametrize(
    ("name", "clip"), [(name, clip) for name in CASES for clip in (False, True) if not (clip and "density" in name)]
)
def test_a_claim_from_an_exhaustive_ledger_is_the_evaluated_chain(name, clip):
    """Every variance, even and optimal chain: the same noise at the same levels, so equal but for rounding."""
    make, data = CASES[name]
    diffusion = make()
    examples = data(50)
    fitted = fit(diffusion, data(80, 1000), EVERYTHING, "cpu", (clip,))[0][clip]
    extras = Extras({**FIXED, "optimal": fitted.variance()}, Bands(4, 4) if diffusion.decoder.clips else None)
    estimate = evaluate_modes(diffusion, examples, EVERYTHING, "cpu", {clip: extras})[0]
    claims = Claims(add_up(estimate), fitted)
    steps = (2, 5, 20, T)
    columns = claims.table(steps)
    rows = len(columns["steps"])

    def evaluate(times):
        return evaluate_chain(diffusion, examples, times, estimate, extras, "cpu")

    nfe = verified(columns, steps, claims, evaluate)
    assert nfe == 50 * (2 * (2 + 5 + 20) + T)
    done = np.isfinite(columns["evaluated"][:rows])
    wanted = (columns["chain"][:rows] == "even") | (columns["variance"][:rows] == "optimal")
    wanted &= (columns["chain"][:rows] == "even") | (columns["steps"][:rows] < T)
    np.testing.assert_array_equal(done, wanted)
    key = estimate.unit.key
    np.testing.assert_allclose(columns["evaluated"][:rows][done], columns[key][:rows][done], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(columns["evaluated_se"][:rows][done] > 0, True)
    assert (np.abs(columns["difference"][:rows][done]) < 2e-5 * columns["evaluated"][:rows][done] + 2e-6).all()
    own = columns["variance"] == "own"
    assert own.sum() == 2 * 3 + 1
    assert np.isfinite(columns["evaluated"][own]).all()
    assert np.isnan(columns[key][own]).all()
    whole = own & (columns["steps"] == T)
    moments = claims.sums.totals["nats"]
    assert columns["evaluated"][whole][0] == pytest.approx(float(moments.mean[0] * estimate.scale), rel=1e-5)


def test_a_claim_from_drawn_terms_differs_by_what_its_error_says():
    diffusion, data = CASES["imperfect, on a grid"][0](), pictures
    some = stratified(12, 8, batch_size=4096)
    fitted = fit(diffusion, data(80, 1000), EVERYTHING, "cpu", (False,))[0][False]
    extras = Extras({**FIXED, "optimal": fitted.variance()})
    estimate = evaluate_modes(diffusion, data(400), some, "cpu", {False: extras})[0]
    claims = Claims(add_up(estimate), fitted)
    columns = claims.table((10,))
    few = estimate.first(200)

    def evaluate(times):
        return evaluate_chain(diffusion, data(400).first(200), times, few, extras, "cpu")

    verified(columns, (10,), Claims(add_up(few), fitted), evaluate)
    done = np.isfinite(columns["difference"])
    assert done.sum() == 4
    assert (np.abs(columns["difference"][done]) < 4 * columns["difference_se"][done] + 1e-6).all()
    assert (columns["difference_se"][done] < 0.7 * np.hypot(columns["evaluated_se"], columns["bpd_se"])[done]).all()


def test_the_standard_error_of_a_claim_predicts_its_scatter():
    """40 disjoint sets of examples: the scatter of the claimed bounds against the mean of their jackknife errors."""
    diffusion = diffusion_of(NORMAL.predict, cosine(T))
    fitted = fit(diffusion, points(200, 10_000), EVERYTHING, "cpu", (False,))[0][False]
    extras = Extras({**FIXED, "optimal": fitted.variance()})
    tables = []
    for i in range(40):
        estimate = evaluate_modes(diffusion, points(100, 100 * (i + 1)), EVERYTHING, "cpu", {False: extras})[0]
        tables.append(Claims(add_up(estimate), fitted).table((5, 20)))
    values = np.array([t["nats_per_dim"] for t in tables])
    errors = np.array([t["nats_per_dim_se"] for t in tables])
    ratio = values.std(0, ddof=1) / np.sqrt((errors**2).mean(0))
    assert ratio.min() > 0.7
    assert ratio.max() < 1.4


def test_a_part_of_a_chain_is_evaluated_on_the_noise_of_the_whole():
    schedule = cosine(T).respace(torch.tensor([1, 7, 30, 60])).respace(torch.tensor([1, 3, 4]))
    assert schedule.original.tolist() == [0, 1, 30, 60]
    assert math.isinf(schedule.log_snr[0])
    assert chain.even(T, 4).tolist() == cosine(T).even(4).tolist()


def test_nothing_is_claimed_where_too_little_was_drawn():
    """One t a picture, T = 1000: 20,000 pictures price short chains within their error, 200 price none."""
    diffusion = diffusion_of(shrinking, cosine(1000), "v", LearnedRange(), DiscretizedGaussian(17), head=0.4)
    fitted = fit(diffusion, pictures(40, 50_000), EVERYTHING, "cpu", (False,))[0][False]
    extras = Extras({**FIXED, "optimal": fitted.variance()})
    by = Importance(
        examples=None, draws=1, times=1, exact_steps=0, last_steps=0, uniform_mix=0.05, pilot_examples=16, pilot_times=64, target_se=None,
        clip_x0=False, seed=3, batch_size=8192,
    )  # fmt: skip
    by = by.learned(evaluate_modes(diffusion, pictures(16, 60_000), by.pilot, "cpu", {False: Extras()})[0])
    few, many = (evaluate_modes(diffusion, pictures(n), by, "cpu", {False: extras})[0] for n in (200, 20_000))
    sparse, dense = (Claims(add_up(estimate), fitted) for estimate in (few, many))
    assert np.isnan(sparse.table((10, 50))["bpd"]).all()
    columns = dense.table((10, 50))
    short = columns["steps"] < 1000
    assert np.isfinite(columns["bpd"][short]).all()
    for row in np.flatnonzero(short & (columns["variance"] == "optimal")):
        times = np.array(columns["times"][row].split(), dtype=np.int64)
        truth = evaluate_chain(diffusion, pictures(2000), times, few, extras, "cpu")
        moments, scale = truth.totals["nats:optimal"], truth.estimate.scale
        error = np.hypot(columns["bpd_se"][row], moments.se[0] * scale)
        assert abs(columns["bpd"][row] - moments.mean[0] * scale) < 4 * error


def test_an_evaluation_stands_without_a_difference_where_its_examples_claim_nothing():
    diffusion, some = CASES["imperfect, on a grid"][0](), pictures(60)
    fitted = fit(diffusion, pictures(80, 1000), EVERYTHING, "cpu", (False,))[0][False]
    extras = Extras({**FIXED, "optimal": fitted.variance()})
    drawn = stratified(1, 0, batch_size=512)
    full, sparse = (evaluate_modes(diffusion, some, by, "cpu", {False: extras})[0] for by in (EVERYTHING, drawn))
    columns = Claims(add_up(full), fitted).table((5,))
    verified(
        columns, (5,), Claims(add_up(sparse), fitted),
        lambda times: evaluate_chain(diffusion, some, times, sparse, extras, "cpu"),
    )  # fmt: skip
    shown = np.isfinite(columns["evaluated"])
    assert shown.sum() == 4 + 2
    assert np.isnan(columns["difference"]).all()


def test_the_standard_error_of_a_difference_predicts_its_scatter():
    """40 disjoint sets of examples, drawn terms: the scatter of evaluated - claimed against the mean of their errors."""
    diffusion = CASES["imperfect, on a grid"][0]()
    fitted = fit(diffusion, pictures(80, 100_000), EVERYTHING, "cpu", (False,))[0][False]
    extras = Extras({**FIXED, "optimal": fitted.variance()})
    by = stratified(12, 8, batch_size=4096)
    tables = []
    for i in range(40):
        examples = pictures(100, 100 * (i + 1))
        estimate = evaluate_modes(diffusion, examples, by, "cpu", {False: extras})[0]
        columns = Claims(add_up(estimate), fitted).table((10,))
        verified(
            columns, (10,), Claims(add_up(estimate), fitted),
            lambda times, own=estimate, x=examples: evaluate_chain(diffusion, x, times, own, extras, "cpu"),
        )  # fmt: skip
        tables.append(columns)
    known = np.isfinite(tables[0]["difference"])
    assert known.sum() == 4
    scatter = np.array([t["difference"][known] for t in tables]).std(0, ddof=1)
    errors = np.sqrt((np.array([t["difference_se"][known] for t in tables]) ** 2).mean(0))
    assert (scatter / errors).min() > 0.65
    assert (scatter / errors).max() < 1.5


def test_an_error_is_local_where_its_window_is_narrow():
    count = np.zeros(101, np.int64)
    count[1:51], count[90] = 4, 40
    local = is_local(count)
    # 32 draws within 2 + t / 10: eight t of four draws near t = 20 (9 slots), not near t = 1; t = 90's own suffice
    assert local[[20, 40, 90, 95]].all()
    assert not local[[1, 3, 60, 70]].any()


def test_chains_are_evaluated_shortest_first_within_the_budget():
    assert affordable([50, 10, 10, 1, 2000], T=1000, examples=100, budget=12_000) == [10, 50]
    assert affordable([50, 10], T=1000, examples=100, budget=11_999) == [10]
    assert affordable([10], T=1000, examples=100, budget=1_999) == []
    assert affordable([1000, 1001], T=1000, examples=1, budget=10**9) == [1000]
