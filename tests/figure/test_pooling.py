"""Pooling keeps sums, reaches the promised number of draws and gives honest errors."""

import math

import numpy as np
import pytest

from difflab.figure.pooling import ENOUGH, term, transitions


def test_enough_draws_leave_every_t_alone(make_ledger):
    ledger = make_ledger(T=50)
    pooled = transitions(ledger)
    assert pooled.largest == 1
    np.testing.assert_array_equal(pooled.t, np.arange(2, 51))
    np.testing.assert_array_equal(pooled.value, ledger.columns["bpd"][1:50])
    np.testing.assert_array_equal(pooled.se, ledger.columns["bpd_se"][1:50])


@pytest.mark.parametrize("points", [None, 30])
def test_few_draws_are_pooled_until_enough_and_sums_are_kept(make_ledger, points):
    ledger = make_ledger(T=300, count=3)
    pooled = transitions(ledger, points)
    assert (pooled.count >= ENOUGH).all()
    assert pooled.largest > 1
    assert points is None or len(pooled.t) <= points
    body = ledger.columns["term"] == "transition_kl"
    for name, values in (
        ("bpd", pooled.value),
        ("mean_error_bpd", pooled.mean_error),
        ("variance_mismatch_bpd", pooled.variance_mismatch),
        ("count", pooled.count),
    ):
        assert values.sum() == pytest.approx(ledger.columns[name][body].sum())
    assert pooled.size.sum() == 299
    np.testing.assert_array_equal(pooled.first[1:], pooled.last[:-1] + 1)
    np.testing.assert_array_equal(pooled.log_snr_s[1:], pooled.log_snr_t[:-1])


def test_the_error_of_a_pool_is_that_of_a_sum(make_ledger):
    ledger = make_ledger(T=9, count=8)
    ledger.columns["count"][:] = 1
    ledger.columns["bpd_se"][1:9] = 0.25
    assert transitions(ledger).se == pytest.approx([0.25 * math.sqrt(8)])


def test_scatter_stands_in_for_a_missing_error(make_ledger):
    ledger = make_ledger(T=9, count=8)
    ledger.columns["count"][:] = 1
    ledger.columns["bpd_se"][1:9] = math.nan
    ledger.columns["bpd"][1:9] = [0, 2, 0, 2, 0, 2, 0, 2]
    assert transitions(ledger).se == pytest.approx([np.std([0, 2] * 4, ddof=1) * math.sqrt(8)])


def test_a_chain_of_one_step_has_no_transition(make_ledger):
    ledger = make_ledger(T=1)
    assert len(transitions(ledger).t) == 0
    assert term(ledger, "decoder_nll")[0] == pytest.approx(0.42)
    assert term(ledger, "space_residual")[0] == 0
