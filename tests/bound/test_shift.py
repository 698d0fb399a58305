"""The shift that a precision makes is measured on the same rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from difflab.bound import ledger
from difflab.bound._part import Part, inclusion
from difflab.bound.estimator import evaluate
from difflab.bound.shift import measure_shift
from difflab.bound.sums import add_up
from tests.bound.test_estimator import data, exhaustive, model, stratified

CPU = torch.device("cpu")


def rough(error: float):
    """The same model with its outputs a little wrong, as another arithmetic would have them."""
    exact = model()
    return replace(exact, model=lambda *inputs: exact.model(*inputs) + error)


@pytest.mark.parametrize("design", [exhaustive(draws=2), stratified()], ids=["exhaustive", "stratified"])
def test_it_is_the_difference_of_the_two_bounds_with_its_paired_error(design):
    examples = data()
    measured, plain = evaluate(rough(1e-2), examples, design), evaluate(model(), examples, design)
    difference = (measured.totals().mean(1) - plain.totals().mean(1)) * plain.scale
    shift = measure_shift(model(), examples, measured, CPU)
    assert shift.mean == pytest.approx(difference.mean(), rel=1e-9)
    assert shift.se == pytest.approx(difference.std(ddof=1) / np.sqrt(len(difference)), rel=1e-9)
    assert shift.nfe == plain.nfe
    assert abs(shift.mean) > 0


def test_it_takes_a_share_of_the_first_round_and_spreads_it_over_examples(monkeypatch):
    """Whatever is chosen, what is expected of it is the shift of those examples with all their terms."""
    monkeypatch.setattr("difflab.bound.shift.LEAST", 60)
    monkeypatch.setattr("difflab.bound.shift.SHARE", 0.0)
    examples, design = data(400), stratified(draws=2)
    alone = add_up(evaluate(rough(1e-2), examples, design))
    design.target_se = 0.9 * float(ledger.build(alone).totals["bpd_se"])  # takes more draws of the same examples
    measured = evaluate(rough(1e-2), examples, design)
    assert measured.rounds > 1
    few, one_round = examples.first(32), stratified(draws=2)
    a, b = (evaluate(m, few, one_round).totals().mean(1) for m in (rough(1e-2), model()))
    whole = float((a - b).mean()) * measured.scale
    shifts = []
    for word in range(200):
        monkeypatch.setattr("difflab.bound._part.KEYED", -2 - word)  # another choice
        shifts.append(measure_shift(model(), examples, measured, CPU))
        assert shifts[-1].nfe == 64  # 2 of the 10 terms of each
    means = np.array([shift.mean for shift in shifts])
    assert means.mean() == pytest.approx(whole, abs=4 * means.std() / np.sqrt(len(means)))
    assert means.std() < 0.5 * abs(whole)  # or the line above would say little
    assert np.mean([shift.se**2 for shift in shifts]) >= 0.9 * means.var()  # examples differ, besides


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_term_that_is_not_finite_has_no_shift_and_ends_nothing(value):
    examples = data()
    measured = evaluate(model(), examples, exhaustive())
    measured.rows[3, measured.columns["nats"]] = value
    shift = measure_shift(model(), examples, measured, CPU)
    assert np.isnan(shift.mean)
    assert np.isnan(shift.se)
    assert shift.nfe == 0


def test_large_terms_are_sure_to_be_chosen():
    p = inclusion(np.array([100.0, 50.0, 1.0, 1.0, 0.0]), 3)
    assert p[:2].tolist() == [1, 1]
    assert float(p.sum()) == pytest.approx(3)
    assert float(p[4]) > 0
    assert inclusion(np.zeros(4), 4).tolist() == [1, 1, 1, 1]
    part = Part(stratified(), inclusion(np.arange(5.0), 3))
    index = torch.arange(2000)
    chosen = part.chosen(index)
    assert (chosen.diff(dim=1) > 0).all()  # no row twice
    often = torch.bincount(chosen.flatten(), minlength=5) / len(index)
    torch.testing.assert_close(often.double(), part.p, rtol=0, atol=4 * 0.5 / 2000**0.5)


def test_the_same_arithmetic_shifts_nothing():
    examples = data()
    shift = measure_shift(model(), examples, evaluate(model(), examples, exhaustive()), CPU)
    assert (shift.mean, shift.se) == (0.0, 0.0)
