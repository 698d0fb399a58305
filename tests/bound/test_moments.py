"""Running moments are those of all values at once; the jackknife of a mean is its standard error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from difflab.bound.moments import Moments, jackknife


@pytest.mark.parametrize("draws", [1, 3])
def test_blocks_add_up_to_the_whole(draws):
    x = np.random.default_rng(0).normal(5, [1, 1e-6, 100], (50, draws, 3))
    moments = Moments(3)
    for part in np.split(x, [1, 2, 20]):
        moments.add(part)
    each = x.mean(1)
    np.testing.assert_allclose(moments.mean, each.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.se, each.std(0, ddof=1) / math.sqrt(50), rtol=1e-9)
    if draws == 1:
        assert np.isnan(moments.noise).all()
        assert np.isnan(moments.between).all()
    else:
        np.testing.assert_allclose(moments.noise, np.sqrt(x.var(1, ddof=1).mean(0) / draws / 50), rtol=1e-9)
        between = np.sqrt(np.maximum(moments.se**2 - moments.noise**2, 0))
        np.testing.assert_allclose(moments.between, between, rtol=1e-12)


def test_a_single_example_has_no_error():
    moments = Moments(1)
    moments.add(np.ones((1, 2, 1)))
    assert math.isnan(moments.se[0])
    assert math.isnan(moments.noise[0])


def test_the_parts_of_the_error_are_those_of_the_values():
    """Examples N(0, 2^2), draws around them N(0, 3^2): se^2 = (4 + 9 / 5) / n, within 5% at n = 20,000."""
    rng = np.random.default_rng(1)
    moments = Moments(1)
    moments.add(rng.normal(0, 2, (20_000, 1, 1)) + rng.normal(0, 3, (20_000, 5, 1)))
    assert moments.between[0] * math.sqrt(20_000) == pytest.approx(2, rel=0.05)
    assert moments.noise[0] * math.sqrt(20_000) == pytest.approx(3 / math.sqrt(5), rel=0.05)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(2).normal(size=30)
    left_out = (x.sum() - x) / 29
    assert jackknife(left_out) == pytest.approx(x.std(ddof=1) / math.sqrt(30), rel=1e-12)
    assert math.isnan(jackknife(left_out[:1]))
