from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from difflab.card.balance import counts, homogeneity


def test_as_scipy_has_it() -> None:
    a, b = np.array([120, 80, 95, 60]), np.array([30, 35, 20, 9])
    expected = stats.chi2_contingency([a, b], correction=False)
    got = homogeneity(a, b)
    assert got["chi2"] == pytest.approx(expected.statistic) and got["p"] == pytest.approx(expected.pvalue)
    assert got["df"] == expected.dof and got["pooled"] == 0


def test_rare_classes_count_as_one() -> None:
    a, b = np.array([500, 400, 3, 2, 4, 0]), np.array([50, 40, 0, 1, 0, 0])
    got = homogeneity(a, b)
    expected = stats.chi2_contingency([[500, 400, 9], [50, 40, 1]], correction=False)
    assert (got["df"], got["pooled"]) == (2, 3) and got["p"] == pytest.approx(expected.pvalue)


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
