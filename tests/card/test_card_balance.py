from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from difflab.card.balance import counts, homogeneity


def test_two_classes_are_a_two_sided_test_of_two_proportions() -> None:
    a, b = np.array([120, 80]), np.array([30, 45])
    share = 150 / 275
    z = (120 / 200 - 30 / 75) / math.sqrt(share * (1 - share) * (1 / 200 + 1 / 75))
    got = homogeneity(a, b)
    assert got["df"] == 1 and got["chi2"] == pytest.approx(z * z)
    assert got["p"] == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))


def test_rare_classes_count_as_one() -> None:
    got = homogeneity(np.array([500, 400, 3, 2, 4, 0]), np.array([50, 40, 0, 1, 0, 0]))
    assert (got["df"], got["pooled"]) == (2, 3)
    same = homogeneity(np.array([500, 400, 9]), np.array([50, 40, 1]))
    assert got["chi2"] == pytest.approx(same["chi2"]) and got["p"] == pytest.approx(math.exp(-got["chi2"] / 2))


@pytest.mark.parametrize("a, b", [([7], [3]), ([7, 0], [3, 0]), ([1, 1], [1, 0])])
def test_one_class_has_no_proportions(a, b) -> None:
    assert homogeneity(np.array(a), np.array(b))["p"] == 1


def test_alarms_come_at_the_stated_rate() -> None:
    generator = np.random.RandomState(0)
    p = [0.4, 0.3, 0.2, 0.1]
    found = sum(
        homogeneity(generator.multinomial(600, p), generator.multinomial(200, p))["p"] < 0.05 for _ in range(2000)
    )
    assert 0.035 < found / 2000 < 0.065


def test_counts() -> None:
    assert counts(torch.tensor([2, 0, 2]), 4).tolist() == [1, 0, 2, 0]
