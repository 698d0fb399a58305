"""Student's t against tables, a quadrature of its density, and its definition; Holm against a worked example."""

from __future__ import annotations

import math

import numpy as np
import pytest

from difflab.compare.student import against_the_best, p_value, quantile


@pytest.mark.parametrize(
    ("df", "t"),
    [(1, 12.706204736432), (2, 4.302652729696), (5, 2.570581835636), (10, 2.228138851965), (30, 2.042272456301)],
)
def test_quantiles_are_those_of_the_table(df: int, t: float) -> None:
    assert quantile(df) == pytest.approx(t, rel=1e-10)
    assert p_value(t, df) == pytest.approx(0.05, rel=1e-10)


@pytest.mark.parametrize("df", [1.3, 2.5, 13.2, 199.0, 9999.0])
@pytest.mark.parametrize("t", [0.3, 1.9, 3.7])
def test_p_values_are_the_integral_of_the_density(df: float, t: float) -> None:
    u = np.linspace(0, math.pi / 2, 400_001)[:-1]  # x = t + tan(u): the whole tail
    x = t + np.tan(u)
    log_norm = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    density = np.exp(log_norm - (df + 1) / 2 * np.log1p(x**2 / df)) / np.cos(u) ** 2
    assert p_value(t, df) == pytest.approx(2 * np.trapezoid(density, u), rel=1e-4)
    assert p_value(-t, df) == p_value(t, df)


def test_it_becomes_the_normal_and_keeps_small_tails() -> None:
    assert quantile(1e7) == pytest.approx(1.959963984540, rel=1e-6)
    assert p_value(8.0, 1e7) == pytest.approx(math.erfc(8 / math.sqrt(2)), rel=1e-4)
    assert p_value(0.0, 5) == 1 and p_value(math.inf, 5) == 0


def test_what_is_not_known_stays_so() -> None:
    assert math.isnan(quantile(0)) and math.isnan(quantile(math.nan)) and math.isnan(p_value(math.nan, 5))


def test_p_values_are_adjusted_for_all_pairs_of_runs() -> None:
    """Four differences that are known belong to five runs, ten pairs: Holm's factors are 10, 9, 8, 7."""
    adjusted = against_the_best([0.01, 0.04, math.nan, 0.011, 0.005])
    assert adjusted == pytest.approx([0.09, 0.28, math.nan, 0.09, 0.05], nan_ok=True)
    assert against_the_best([]) == [] and against_the_best([0.8, 0.9]) == [1.0, 1.0]
    assert against_the_best([0.04]) == [0.04]  # two runs are one pair
