"""Bits of a density over an isotropic Gaussian: closed forms, and no dependence on the data's units."""

from __future__ import annotations

import math

import pytest

from difflab.bound.information_gain import information_gain
from difflab.console import gain_line
from difflab.data.base import Null, white
from difflab.gaussian import BITS, NATS

UNIT_NORMAL = math.log(2 * math.pi * math.e) / 2  # nats/dim


def result(nats_per_dim: float, se: float = 0.01, **floors: float) -> dict:
    return {"nats_per_dim": nats_per_dim, "nats_per_dim_se": se, "floors": floors}


def test_the_papers_null_likelihoods():
    """Table 1: 2.35 - 6.45 bits/point of the swiss roll, 1.489 - 3.536 bits/pixel of dead leaves."""
    assert abs(white("point", 2, 1.0).bits - (2.35 - 6.45)) < 0.006
    assert abs(white("pixel", 1, 1.0).bits - (1.489 - 3.536)) < 6e-4


@pytest.mark.parametrize("deviation", [0.01, 1.0, 30.0])
def test_an_isotropic_gaussian_gains_nothing(deviation):
    entropy = UNIT_NORMAL + math.log(deviation)  # nats/dim
    gain = information_gain(result(entropy, entropy=entropy), NATS, white("point", 3, deviation))
    assert gain["K"] == pytest.approx(gain["L_null"]) == pytest.approx(-3 * UNIT_NORMAL / math.log(2))
    assert gain["K_minus_L_null"] == pytest.approx(0, abs=1e-12)
    assert gain["ceiling"] == gain["K"]


def test_gaussian_data_has_minus_its_entropy_in_bits():
    """N(m, diag(1/4, 7/4)), variance 1 on average: K = -1/2 log2 det(2 pi e S); the gain is what S lacks of isotropy."""
    nats = 0.5 * math.log((2 * math.pi * math.e) ** 2 * 7 / 16)
    gain = information_gain(result(nats / 2), NATS, white("point", 2, 1.0))
    assert gain["K"] == pytest.approx(-nats / math.log(2))
    assert gain["K_minus_L_null"] == pytest.approx(-0.5 * math.log2(7 / 16))
    assert gain["ceiling"] is None and gain["per"] == "point"


@pytest.mark.parametrize("factor", [1e-3, 255.0])
def test_the_units_of_the_data_do_not_matter(factor):
    """x -> factor x adds log(factor) nats to each dimension of the bound and multiplies the deviation."""
    before = information_gain(result(0.7, entropy=0.6), NATS, white("pixel", 1, 1.3))
    moved = result(0.7 + math.log(factor), entropy=0.6 + math.log(factor))
    after = information_gain(moved, NATS, white("pixel", 1, 1.3 * factor))
    for key in ("K", "K_minus_L_null", "K_se", "ceiling"):
        assert after[key] == pytest.approx(before[key])


def test_errors_are_the_bounds_own_in_bits():
    point = information_gain(result(-0.8, se=0.02), NATS, white("point", 2, 1.0))
    assert point["K_se"] == point["K_minus_L_null_se"] == pytest.approx(2 * 0.02 / math.log(2))
    assert point["K"] == pytest.approx(2 * 0.8 / math.log(2))
    pixel = information_gain(result(-0.8, se=0.02), NATS, white("pixel", 1, 1.0))
    assert (pixel["per"], pixel["K"]) == ("pixel", pytest.approx(0.8 / math.log(2)))


def test_a_probability_is_counted_in_its_own_bits_and_has_no_scale():
    """0.25 bits/dim of 8 values, over a null model of 5 bits, with 1.5 bits of entropy: nothing else enters."""
    of_levels = {"bpd": 0.25, "bpd_se": 0.01, "floors": {"entropy": 1.5 / 8}}
    gain = information_gain(of_levels, BITS, Null(-5.0, "word", 8, None))
    expected = {"K": -2.0, "K_se": 0.08, "L_null": -5.0, "K_minus_L_null": 3.0, "ceiling": -1.5}
    assert {key: gain[key] for key in expected} == pytest.approx(expected)
    assert (
        gain_line(gain)
        == "bits/word: K = -2.0000 ± 0.0800 (at most -1.5000, by the entropy), K - L_null = 3.0000 ± 0.0800"
    )


def test_the_line_for_people():
    known = information_gain(result(-0.8, se=0.02, entropy=-0.9), NATS, white("point", 2, 1.0))
    assert gain_line(known) == (
        "at unit variance, bits/point: K = 2.3083 ± 0.0577 (at most 2.5969, by the entropy), K - L_null = 6.4025 ± 0.0577"
    )
    unknown = information_gain(result(0.0, se=math.nan), NATS, white("pixel", 1, 1.0))
    assert gain_line(unknown) == "at unit variance, bits/pixel: K = 0.0000, K - L_null = 2.0471"
