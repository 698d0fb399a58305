"""Designs: every t stands for itself in expectation, whatever is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from difflab.bound.exhaustive import Exhaustive
from difflab.bound.stratified import Stratified
from difflab.errors import ConfigError

STRATIFIED = [
    (20, 5, 3),
    (20, 0, 4),
    (20, 20, 3),
    (23, 3, 7),
    (1, 0, 1),
    (1, 5, 5),
    (2, 1, 1),
    (1000, 21, 20),
    (10, 2, 50),
]


def stratified(times: int, exact_steps: int, draws: int = 1, seed: int = 0, last_steps: int = 0) -> Stratified:
    return Stratified(
        examples=None,
        draws=draws,
        times=times,
        exact_steps=exact_steps,
        last_steps=last_steps,
        target_se=None,
        clip_x0=False,
        seed=seed,
        batch_size=64,
    )


def exhaustive(draws: int = 1) -> Exhaustive:
    return Exhaustive(examples=None, draws=draws, target_se=None, clip_x0=False, seed=0, batch_size=64)


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("T", [1, 2, 17])
def test_exhaustive_evaluates_every_t_of_every_example_with_total_weight_one(T, draws):
    plan = exhaustive(draws).plan(torch.tensor([4, 9, 11]), T)
    weight = np.zeros((3, T + 1))
    np.add.at(weight, (plan.example.numpy(), plan.t.numpy()), plan.weight.numpy())
    np.testing.assert_allclose(weight[:, 1:], 1, rtol=1e-15)
    assert (weight[:, 0] == 0).all() and len(plan.t) == 3 * T * draws
    assert len({*zip(plan.example.tolist(), plan.t.tolist(), plan.draw.tolist(), strict=True)}) == len(plan.t)


@pytest.mark.parametrize("T, exact, times", STRATIFIED)
def test_each_examples_stratified_weights_sum_to_T(T, exact, times):
    plan = stratified(times, exact, draws=2).plan(torch.arange(50), T)
    total = np.bincount(plan.example.numpy(), plan.weight.numpy())
    np.testing.assert_allclose(total, T, rtol=1e-13)
    assert int(plan.t.min()) == 1 or exact == 0
    assert int(plan.t.max()) <= T and int(plan.t.min()) >= 1
    assert len(plan.t) == 50 * 2 * (min(exact, T) + min(times, T - min(exact, T)))


@pytest.mark.parametrize("T, exact, times", STRATIFIED)
def test_the_expected_weight_of_every_t_is_one(T, exact, times):
    n = 4000
    plan = stratified(times, exact).plan(torch.arange(n), T)
    mean = np.bincount(plan.t.numpy(), plan.weight.numpy(), minlength=T + 1)[1:] / n
    np.testing.assert_allclose(mean[:exact], 1, rtol=1e-13)
    if exact + times >= T:
        np.testing.assert_allclose(mean, 1, rtol=1e-13)  # as many draws as terms: exhaustive
    else:
        weight = (T - exact) / times  # drawn with probability 1 / weight
        se = np.sqrt((weight - 1) / n)
        assert np.abs(mean[exact:] - 1).max() < 5 * se  # 5 standard errors for up to 1,000 t
        assert plan.weight.numpy().max() == weight


@pytest.mark.parametrize("last", [1, 3])
@pytest.mark.parametrize("T, exact, times", STRATIFIED)
def test_last_steps_are_evaluated_for_every_example_and_change_no_other_draw(T, exact, times, last):
    n = 4000
    plan = stratified(times, exact, last_steps=last).plan(torch.arange(n), T)
    without = stratified(times, exact).plan(torch.arange(n), T)
    some = min(last, T - min(exact, T))
    assert len(plan.t) == len(without.t) + n * some
    weight = [np.zeros((n, T + 1)), np.zeros((n, T + 1))]
    for table, one in zip(weight, (plan, without), strict=True):
        np.add.at(table, (one.example.numpy(), one.t.numpy()), one.weight.numpy())
    np.testing.assert_allclose(weight[0][:, T - some + 1 :], 1, rtol=1e-13)
    np.testing.assert_array_equal(weight[0][:, : T - some + 1], weight[1][:, : T - some + 1])
    assert bool((plan.weight > 0).all())  # a term that is not finite stays so


def test_one_draw_of_an_example_never_takes_a_t_twice_and_spreads_them():
    plan = stratified(7, 3, draws=2).plan(torch.arange(300), 100)
    rows = plan.t.reshape(600, 10)
    assert torch.equal(rows[:, :3], torch.tensor([[1, 2, 3]]).expand(600, -1))
    gaps = rows[:, 3:].diff(dim=1)
    assert bool(((gaps >= 13) & (gaps <= 14)).all())  # 97 / 7 = 13.86


def test_the_draw_of_t_is_keyed_by_the_examples_id_and_the_seed():
    ids = torch.tensor([100, 7, 42, 8])
    plan, shuffled = stratified(3, 2).plan(ids, 500), stratified(3, 2).plan(ids.flip(0), 500)
    assert torch.equal(plan.t.reshape(4, -1), shuffled.t.reshape(4, -1).flip(0))
    assert not torch.equal(plan.t, stratified(3, 2, seed=1).plan(ids, 500).t)
    two = stratified(3, 2, draws=2).plan(ids, 500)
    assert torch.equal(two.t.reshape(4, 2, -1)[:, 0], plan.t.reshape(4, -1))  # more draws keep the first
    assert not torch.equal(two.t.reshape(4, 2, -1)[:, 0], two.t.reshape(4, 2, -1)[:, 1])


@pytest.mark.parametrize(
    "key, value",
    [("examples", 0), ("draws", 0), ("batch_size", 0), ("times", 0), ("exact_steps", -1), ("last_steps", -1)],
)
def test_impossible_values_are_refused_by_name(key, value):
    values = {
        "examples": None,
        "draws": 1,
        "times": 2,
        "exact_steps": 2,
        "last_steps": 0,
        "target_se": None,
        "clip_x0": False,
        "seed": 0,
        "batch_size": 8,
    }
    with pytest.raises(ConfigError, match=rf"bound\.{key}={value}"):
        Stratified(**{**values, key: value})
