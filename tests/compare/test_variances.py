"""Each run's mean with every variance, as the measurements say."""

from __future__ import annotations

import math

import numpy as np

from difflab.card.blocks import Table
from difflab.compare.variances import blocks, variance_table
from tests.compare.made_up import in_memory


def priced(name: str, **bounds: float):
    totals = {k: {"bpd": v, "bpd_se": 0.01, "decoder_nll": v / 10} for k, v in bounds.items()}
    return in_memory(np.ones((3, 4)), name, variances=totals)


def test_runs_by_variances() -> None:
    runs = [
        priced("a", optimal=1.5, own=2.0, fixed_beta=1.75),
        priced("b", own=3.0, other=3.5),
        in_memory(np.ones((3, 4)), "c"),
    ]
    text, table = blocks(runs)
    assert isinstance(table, Table) and table.head == ["run", "own", "fixed_beta", "optimal", "other"]
    assert table.rows == [
        ["a", "2.0000 ± 0.0100", "1.7500 ± 0.0100", "1.5000 ± 0.0100 (lowest)", ""],
        ["b", "3.0000 ± 0.0100 (lowest)", "", "", "3.5000 ± 0.0100"],
    ]
    assert "optimal in 1 of 2, own in 1 of 2" in getattr(text, "text", "")
    columns = variance_table(runs)
    assert columns["run"].tolist() == ["a"] * 3 + ["b"] * 2 and columns["bpd"].tolist() == [2.0, 1.75, 1.5, 3.0, 3.5]
    assert columns["decoder_nll"][0] == 0.2 and math.isnan(columns["prior_kl"][0])


def test_nothing_priced_is_no_table() -> None:
    alone = in_memory(np.ones((3, 4)), "c")
    assert blocks([alone, priced("a", own=1.0)]) == [] and variance_table([alone]) == {} and blocks([]) == []
    assert blocks([in_memory(np.ones((3, 4)), "c", variances=[1])]) == []
