"""What the tracker gets adds up to the ledger."""

import math

import numpy as np
import pytest

from difflab.figure import buckets, per_log_snr_curve, per_t_curve


@pytest.mark.parametrize("T", [1, 2, 4, 16, 50, 1000])
def test_buckets_and_prior_make_the_bound(make_ledger, T):
    ledger = make_ledger(T=T)
    sums = buckets(ledger)
    assert list(sums) == [f"bound/bucket_{k:02d}" for k in range(16)]
    assert sum(sums.values()) + ledger.columns["bpd"][-1] == pytest.approx(ledger.totals["bpd"])
    assert sums["bound/bucket_00"] >= ledger.columns["bpd"][0]


def test_buckets_are_equal_groups_of_t(make_ledger):
    ledger = make_ledger(T=32)
    assert buckets(ledger)["bound/bucket_15"] == pytest.approx(ledger.columns["bpd"][30:32].sum())


@pytest.mark.parametrize(("T", "count"), [(40, 360), (3000, 360), (3000, 3)])
def test_the_curves_integrate_to_the_transitions(make_ledger, T, count):
    ledger = make_ledger(T=T, count=count)
    expected = ledger.columns["bpd"][1:T].sum()
    per_t, per_log_snr = per_t_curve(ledger), per_log_snr_curve(ledger)
    assert per_t.columns == ["t", "log_snr", "L_t", "se"]
    assert len(per_t.rows) <= 1000
    assert all(type(x) is float for row in per_t.rows for x in row)
    if T == 40:
        assert sum(row[2] for row in per_t.rows) == pytest.approx(expected)
        width = -np.diff(ledger.columns["log_snr_t"][:40])
        assert np.dot([row[2] for row in per_log_snr.rows], width) == pytest.approx(expected)
    assert per_log_snr.x == "log_snr"


def test_a_jump_to_zero_signal_has_no_density(make_ledger):
    ledger = make_ledger(T=20, last_log_snr=-math.inf)
    assert len(per_log_snr_curve(ledger).rows) == 18
    assert per_t_curve(make_ledger(T=1)).rows == []


def test_the_unit_is_named(make_ledger, nats):
    assert "nats/dim" in per_t_curve(make_ledger(T=5, unit=nats)).title
