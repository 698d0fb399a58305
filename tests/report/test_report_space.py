"""A page of a run in another space: what the space adds is no term of the chain, and every sum holds it."""

from __future__ import annotations

import numpy as np
import pytest

from difflab.bound.ledger import Ledger
from difflab.gaussian import BITS
from difflab.report.curves import running
from difflab.report.detail import Detail
from difflab.report.insight import variances
from difflab.report.mapping import _left, graph

T, CHAIN, PRIOR, SPACE = 20, np.linspace(1.0, 0.05, 20), 0.5, (3.0, -1.25)


def ledger() -> Ledger:
    """As ledger.build leaves it: t = 1..T, L_T, then the space at t = 0."""
    term = ["decoder_nll", *["transition_kl"] * (T - 1), "prior_kl", "space_residual", "space_volume"]
    log_snr = np.linspace(9, -9, T)
    columns = {
        "t": np.array([*range(1, T + 1), T, 0, 0]), "term": np.array(term), "bpd": np.array([*CHAIN, PRIOR, *SPACE]),
        "log_snr_t": np.array([*log_snr, log_snr[-1], np.nan, np.nan]),
    }  # fmt: skip
    return Ledger(BITS, columns, {})


def test_the_graph_has_the_chain_s_terms_and_the_space_s_apart() -> None:
    drawn = graph(ledger(), None)
    assert (drawn["T"], drawn["decoder"], drawn["prior"]) == (T, CHAIN[0], PRIOR)
    assert drawn["space"] == pytest.approx(sum(SPACE), rel=1e-12) and drawn["log_snr_1"] == 9
    for groups in drawn["groups"].values():
        parts = sum(group["value"] for group in groups) + drawn["decoder"] + drawn["prior"] + drawn["space"]
        assert parts == pytest.approx(drawn["total"], rel=1e-12)
        assert [groups[0]["first"], groups[-1]["last"]] == [2, T]
    assert drawn["total"] == pytest.approx(CHAIN.sum() + PRIOR + sum(SPACE), rel=1e-12)


def test_running_sums_are_the_chain_s_and_what_is_left_holds_the_space() -> None:
    sums = running(ledger(), None)
    assert sums["value"][0] == pytest.approx(CHAIN[0]) and sums["value"][-1] == pytest.approx(CHAIN.sum(), rel=1e-4)
    left = _left(ledger(), np.array([1, T]))
    assert left == pytest.approx([sum(SPACE), CHAIN[0] + sum(SPACE), CHAIN.sum() + sum(SPACE)], rel=1e-4)


def test_the_variances_totals_hold_the_space_and_their_curves_do_not() -> None:
    columns = ledger().columns
    table = {"t": columns["t"], "term": columns["term"], "own": columns["bpd"]}
    drawn = variances(table, "bpd", Detail())
    assert drawn["totals"]["own"] == pytest.approx(CHAIN.sum() + PRIOR + sum(SPACE))
    assert drawn["running"]["own"][-1] == pytest.approx(CHAIN.sum(), rel=1e-4)
