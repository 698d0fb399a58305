"""The best isotropic variance: a minimum in every direction, and the same mean scored with every variance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from difflab.bound.estimator import Examples, Extras, evaluate, evaluate_modes
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.insight import variance_table, variance_totals
from difflab.bound.ledger import build
from difflab.bound.optimal import fit, load, minimise, save
from difflab.bound.smooth import mse_of_x0
from difflab.bound.sums import add_up
from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.variance._optimal import Optimal
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from difflab.variance.learned_range import LearnedRange
from tests.analytic import NORMAL, cosine, diffusion_of, linear, shrinking
from tests.designs import stratified

T = 25
VARIANCES = {"fixed_beta": FixedBeta(ddpm_t1=False), "fixed_beta_tilde": FixedBetaTilde()}


def everything(draws: int = 1) -> Exhaustive:
    return Exhaustive(examples=None, draws=draws, target_se=None, clip_x0=False, seed=3, batch_size=4096)


def grid_data(n: int = 60, first: int = 0) -> Examples:
    x0 = torch.randint(0, 17, (n, 1, 4, 4), generator=torch.Generator().manual_seed(first))
    return Examples(2 * x0 / 16 - 1, first + torch.arange(n))


def model(schedule=None):
    return diffusion_of(shrinking, schedule or cosine(T), "v", LearnedRange(), DiscretizedGaussian(17), head=0.4)


def normal_examples(n: int, seed: int = 0) -> Examples:
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)).double()
    return Examples((NORMAL.mean + NORMAL.var.sqrt() * z).float(), torch.arange(n) + 10_000_000 * seed)


@pytest.mark.parametrize("clip", [False, True])
def test_it_is_a_minimum_on_the_data_it_was_fitted_to(clip):
    """Every log v_t, t = 1 included, moved both ways by 0.05: no term may become smaller."""
    examples = grid_data()
    fitted = fit(model(), examples, everything(), "cpu", (clip,))[0][clip].variance()
    moved = {f"{sign:+d}": Moved(fitted, 0.05 * sign) for sign in (-1, 1)}
    extras = Extras({"optimal": fitted, **moved})
    table = variance_table(add_up(evaluate_modes(model(), examples, everything(), "cpu", {clip: extras})[0]))
    for name in moved:
        gain = table["optimal"] - table[name]
        assert (gain[:-1] < 0).all(), name


class Moved(Optimal):
    def __init__(self, base: Optimal, by: float) -> None:
        super().__init__(base.log_snr, base.mse_x0, base.first)
        self.by = by

    def excess(self, output, step):
        return super().excess(output, step) + self.by


def test_its_least_cost_has_the_closed_form():
    """min E KL = dims / 2 log(v* / beta_tilde) on the data it was fitted to (theory, section 3)."""
    examples = grid_data()
    fitted = fit(model(), examples, everything(), "cpu", (False,))[0][False]
    extras = {False: Extras({"optimal": fitted.variance()})}
    sums = add_up(evaluate_modes(model(), examples, everything(), "cpu", extras)[0])
    step = model().schedule.step(torch.arange(2, T + 1))
    least = 8 * fitted.variance().excess(None, step).numpy()
    np.testing.assert_allclose(sums.per_t["nats:optimal"].mean[2:], least, rtol=2e-4)  # float32 terms


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_neighbours_lend_an_error_that_is_the_same_at_both_ends(schedule):
    """Of data whose error is known in closed form (theory, section 9): one draw in ten t, each the exact expectation.

    Near the data the error of x0 falls with sigma^2, near the noise that of eps with the SNR, by orders of magnitude a t.
    """
    chain = schedule(1000)
    mse = NORMAL.posterior_var(chain.level(torch.arange(1, 1001))).mean(1).numpy()
    count = np.zeros(1001)
    count[1:51] = 200
    count[51::10] = 8
    lent = mse_of_x0(np.append(0.0, mse) * count, count, chain.log_snr.numpy())
    assert lent[0] == 0
    assert np.abs(np.log(lent[1:] / mse)).max() < 0.02  # four neighbours that have draws: 40 t of 1,000


def test_for_a_density_the_first_variance_is_the_mean_squared_error():
    diffusion, examples = diffusion_of(NORMAL.predict, cosine(T)), normal_examples(500)
    fitted = fit(diffusion, examples, everything(), "cpu", (False,))[0][False]
    sums = add_up(evaluate(diffusion, examples, everything()))
    assert fitted.first == pytest.approx(math.log(sums.mse_x0[1]), abs=1e-4)


def test_minimise_finds_a_minimum_anywhere_in_the_range():
    for where in (-23.9, -3.3, 0.0, 3.9):
        assert minimise(lambda x, a=where: math.cosh(x - a), -24.0, 4.0) == pytest.approx(where, abs=1e-3)


def test_counterfactual_variances_equal_models_that_have_them():
    """The same mean with another variance: column by column what a model with that variance is evaluated to."""
    own, examples = model(), grid_data()
    fits, nfe = fit(own, grid_data(80, first=1000), everything(), "cpu", (False, True))
    assert nfe == 80 * T + 80
    modes = {clip: Extras({**VARIANCES, "optimal": fits[clip].variance()}) for clip in (False, True)}
    for estimate in evaluate_modes(own, examples, everything(), "cpu", modes):
        sums = add_up(estimate)
        table, totals = variance_table(sums), variance_totals(sums)
        for name, variance in modes[estimate.clip_x0].variances.items():
            plain = diffusion_of(shrinking, cosine(T), "v", variance, DiscretizedGaussian(17))
            ledger = build(evaluate(plain, examples, everything(), clip_x0=estimate.clip_x0))
            np.testing.assert_allclose(table[name], ledger.columns["bpd"], rtol=1e-5)
            for part in ("bpd", "bpd_se", "transition_kl", "decoder_nll_se"):
                assert totals[name][part] == pytest.approx(ledger.totals[part], rel=1e-5)
            assert table[name].sum() == pytest.approx(totals[name]["bpd"], rel=1e-9)
        np.testing.assert_array_equal(table["own"], build(sums).columns["bpd"])


def test_on_a_shorter_chain_it_is_the_best_variance_of_the_jump():
    """v* = beta_tilde + c0^2 E||x_0 - x0_hat||^2 / dims of the jump s -> t, whatever lies between."""
    diffusion, examples = diffusion_of(NORMAL.predict, linear(60)), normal_examples(400)
    fitted = fit(diffusion, examples, everything(), "cpu", (False,))[0][False]
    times = torch.tensor([1, 4, 30, 60])
    short = replace(diffusion, schedule=diffusion.schedule.respace(times))
    step = short.schedule.step(torch.arange(2, 5))
    mse = torch.from_numpy(fitted.mse_x0)[times[1:]]
    best = torch.log(step.log_beta_tilde.exp() + step.c0**2 * mse) - step.log_beta_tilde
    torch.testing.assert_close(fitted.variance().excess(None, step), best, rtol=1e-10, atol=1e-12)


def test_a_fit_to_some_t_is_near_the_fit_to_all(tmp_path):
    some = stratified(5, 5, batch_size=512)
    diffusion, examples = diffusion_of(NORMAL.predict, linear(200)), normal_examples(300)
    few, all_ = (fit(diffusion, examples, design, "cpu", (False,))[0][False] for design in (some, everything()))
    ratio = few.mse_x0[1:] / all_.mse_x0[1:]
    # 8 draws of 2 dimensions scatter by exp(+-0.35); exact steps have all 300
    np.testing.assert_allclose(ratio[:5], 1, rtol=1e-6)
    assert np.abs(np.log(ratio)).mean() < 0.35
    assert abs(np.log(ratio).mean()) < 0.15
    path = save({False: few, True: all_}, tmp_path / "fit.csv")
    for before, after in zip((few, all_), load(path).values(), strict=True):
        np.testing.assert_array_equal(before.mse_x0[1:], after.mse_x0[1:])
        np.testing.assert_array_equal(before.log_snr, after.log_snr)
        assert before.first == after.first
