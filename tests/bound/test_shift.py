"""The shift that a precision makes is measured on the same rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from difflab.bound import ledger
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


def test_it_takes_a_share_of_the_terms_and_the_first_round_of_several(monkeypatch):
    monkeypatch.setattr("difflab.bound.shift.LEAST", 60)
    monkeypatch.setattr("difflab.bound.shift.SHARE", 0.0)
    examples, design = data(400), stratified(draws=2)
    alone = add_up(evaluate(rough(1e-2), examples, design))
    design.target_se = 0.9 * float(ledger.build(alone).totals["bpd_se"])  # takes more draws of the same examples
    measured = evaluate(rough(1e-2), examples, design)
    assert measured.rounds > 1
    shift = measure_shift(model(), examples, measured, CPU)
    one_round = stratified(draws=2)
    few = examples.first(6)  # 60 terms of 10 an example
    a, b = (evaluate(m, few, one_round).totals().mean(1) for m in (rough(1e-2), model()))
    assert shift.nfe == 60
    assert shift.mean == pytest.approx(float((a - b).mean()) * measured.scale, rel=1e-6)


def test_the_same_arithmetic_shifts_nothing():
    examples = data()
    shift = measure_shift(model(), examples, evaluate(model(), examples, exhaustive()), CPU)
    assert (shift.mean, shift.se) == (0.0, 0.0)
