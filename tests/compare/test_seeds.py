"""Spread between seeds apart from the error of the evaluation: known components of variance are found again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from difflab.compare.measurement import Measurement
from difflab.compare.seeds import group, groups, recipe, versus
from tests.compare.made_up import DIMS, in_memory

NATS = DIMS * math.log(2)  # nats of one unit


def members(rng: np.random.Generator, seeds: int, between: float, n: int = 40, mean: float = 2.0) -> list[Measurement]:
    """Runs whose bounds (in the unit) differ by seed (sd `between`), by example (0.5) and by both (0.2)."""
    example, both = 0.5 * rng.standard_normal((n, 1)), 0.2 * rng.standard_normal((n, seeds))
    bounds = mean + between * rng.standard_normal(seeds) + example + both
    return [in_memory(np.stack([np.zeros(n), bounds[:, s] * NATS], 1), str(s), seed=s) for s in range(seeds)]


def test_components_of_variance_are_found_again() -> None:
    rng = np.random.default_rng(0)
    for between in (0.0, 0.1):
        found = [group("g", members(rng, 4, between)) for _ in range(1500)]
        excess = np.array([g.observed**2 - g.residual**2 for g in found])
        assert excess.mean() == pytest.approx(between**2, abs=4 * excess.std() / math.sqrt(1500))
        assert np.mean([g.residual**2 for g in found]) == pytest.approx(0.2**2 / 40, rel=0.05)
        evaluation = math.sqrt((0.5**2 + 0.2**2 / 4) / 40)
        assert np.mean([g.evaluation_se for g in found]) == pytest.approx(evaluation, rel=0.03)
        assert all(g.spread == pytest.approx(math.sqrt(max(e, 0))) for g, e in zip(found, excess))


def test_an_interval_over_seeds_holds_the_truth() -> None:
    """Of the two recipes on these very examples: both groups see the same ones."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(1000):
        spread, n = (0.1, 0.2), 40
        example = 0.5 * rng.standard_normal((n, 1))
        of = []
        for mean, sd, seeds in ((2.0, spread[0], 5), (2.3, spread[1], 6)):
            bounds = mean + sd * rng.standard_normal(seeds) + example + 0.2 * rng.standard_normal((n, seeds))
            runs = [in_memory(np.stack([np.zeros(n), bounds[:, s] * NATS], 1), str(s), seed=s) for s in range(seeds)]
            of.append(group("g", runs))
        against = versus(of[1], of[0])
        inside += abs(against.difference - 0.3) <= against.between_half
    assert 930 <= inside <= 970


def test_welch_against_a_worked_example() -> None:
    """Seeds' means 1, 2, 3 against 2, 6: variances 1/3 and 8/2, df = (1/3 + 4)^2 / (1/9/2 + 16/1)."""
    of = [
        group(name, [in_memory(np.array([[0, m * NATS], [0, m * NATS]]), str(s), seed=s) for s, m in enumerate(means)])
        for name, means in (("a", (1, 2, 3)), ("b", (2, 6)))
    ]
    against = versus(of[1], of[0])
    assert against.difference == pytest.approx(2.0)
    assert against.between_se == pytest.approx(math.sqrt(1 / 3 + 4))
    assert against.df == pytest.approx((1 / 3 + 4) ** 2 / (1 / 9 / 2 + 16))
    assert against.evaluation_se == pytest.approx(0, abs=1e-12)  # both examples say the same
    assert of[0].residual == pytest.approx(0, abs=1e-12) and of[0].spread == pytest.approx(1.0)


def test_one_seed_leaves_the_spread_unknown() -> None:
    rng = np.random.default_rng(3)
    one, several = group("one", members(rng, 1, 0.1)), group("several", members(rng, 3, 0.1))
    assert math.isnan(one.spread) and math.isnan(one.between_se)
    against = versus(one, several)
    assert math.isnan(against.between_half) and math.isnan(against.p)
    assert against.evaluation_half > 0


def test_only_examples_that_all_seeds_saw_count() -> None:
    a = in_memory(np.array([[0, 1.0], [0, 2.0], [0, 9.0]]), index=np.array([4, 5, 6]))
    b = in_memory(np.array([[0, 4.0], [0, 3.0]]), index=np.array([5, 4]))
    found = group("g", [a, b])
    assert found.examples == 2
    assert found.means.tolist() == pytest.approx([1.5 / NATS, 3.5 / NATS])
    assert found.per_example == pytest.approx({4: 2 / NATS, 5: 3 / NATS})


def test_runs_that_differ_in_the_seed_alone_are_one_group() -> None:
    base = {
        "seed": 0,
        "schedule": {"name": "cosine"},
        "data": {"name": "digits", "root": "a"},
        "tracker": {"kind": "none"},
    }
    configs = [
        base,
        base
        | {"seed": 1, "tracker": {"kind": "wandb"}, "data": {"name": "digits", "root": "b"}, "bound": {"draws": 2}},
        base | {"schedule": {"name": "linear"}},
        base | {"seed": 1, "device": "cpu"},  # trained twice
        {},
        {},
    ]
    rng = np.random.default_rng(0)
    runs = [in_memory(rng.gamma(1.0, size=(3, 2)), str(i), seed=c.get("seed")) for i, c in enumerate(configs)]
    found = groups(runs, configs, list("abcdef"))
    assert [(g.name, [m.name for m in g.members]) for g in found] == [
        ("a", ["0", "1"]), ("c", ["2"]), ("e", ["4"]), ("f", ["5"])
    ]  # fmt: skip
    assert recipe(base) != recipe(base | {"data": {"name": "mnist", "root": "a"}})


def test_a_group_of_later_days_that_does_nothing_changes_no_recipe() -> None:
    older = {"data": {"name": "digits"}, "trainer": {"steps": 3}}
    newer = older | {
        "augmentation": {"name": "none"},
        "space": {"name": "identity"},
        "features": {"name": "classifier"},
        "job": "a",
        "init": None,
    }
    assert recipe(newer) == recipe(older)
    assert recipe(newer | {"augmentation": {"name": "flip", "probability": 0.5}}) != recipe(older)
