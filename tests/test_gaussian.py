"""The KL of two diagonal Gaussians, its two parts, and the one unit conversion."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from difflab.gaussian import BITS, NATS, expand, expm1_minus, kl, per_example


def exact_expm1_minus(k: float) -> float:
    """exp(k) - 1 - k by its series in exact rational arithmetic, or directly where nothing cancels."""
    if abs(k) > 2:
        return math.expm1(k) - k
    from fractions import Fraction

    x, total, power = Fraction(k), Fraction(0), Fraction(k)
    for n in range(2, 40):
        power *= x / n
        total += power
    return float(total)


POINTS = [0.0, 1e-30, 1e-12, 1e-7, 1e-3, 0.0999, 0.1, 0.11, 0.5, 1.9, 5.0, 30.0]


@pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-13), (torch.float32, 5e-6)])
def test_expm1_minus_keeps_its_digits_everywhere(dtype, rtol):
    k = torch.tensor([sign * p for p in POINTS for sign in (1, -1)], dtype=dtype)
    expected = torch.tensor([exact_expm1_minus(float(v)) for v in k], dtype=torch.float64)
    torch.testing.assert_close(expm1_minus(k).double(), expected, rtol=rtol, atol=1e-60)
    assert bool((expm1_minus(k) >= 0).all())


def test_expm1_minus_has_its_own_derivative_and_no_nan_far_out():
    k = torch.tensor([-1e6, -50.0, -1.0, -0.05, 0.0, 0.05, 1.0, 50.0], requires_grad=True)
    expm1_minus(k).sum().backward()
    assert k.grad is not None
    torch.testing.assert_close(k.grad, torch.expm1(k.detach()), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("per_dimension", [True, False])
def test_the_two_parts_add_up_to_torchs_kl_and_neither_is_negative(per_dimension):
    generator = torch.Generator().manual_seed(0)
    shape, v_shape = (200, 3, 4, 4), (200, 3, 4, 4) if per_dimension else (200, 1, 1, 1)
    m_q, m_p = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    log_q, ratio = 3 * torch.randn(2, *v_shape, generator=generator, dtype=torch.float64)
    parts = kl(m_q - m_p, log_q, ratio)
    p, q = ((log_q + ratio) / 2).exp().expand(shape), (log_q / 2).exp().expand(shape)
    reference = kl_divergence(Independent(Normal(m_q, q), 3), Independent(Normal(m_p, p), 3))
    torch.testing.assert_close(parts.total, reference, rtol=1e-10, atol=1e-10)
    assert bool((parts.mean_error >= 0).all() and (parts.variance_mismatch >= 0).all())
    only_variance = kl_divergence(Independent(Normal(m_q, q), 3), Independent(Normal(m_q, p), 3))
    torch.testing.assert_close(parts.variance_mismatch, only_variance, rtol=1e-10, atol=1e-10)


def test_kl_of_a_distribution_with_itself_is_zero():
    parts = kl(torch.zeros(2, 5), torch.full((2, 1), -30.0), torch.zeros(2, 1))
    assert torch.equal(parts.total, torch.zeros(2))


def test_a_tiny_variance_mismatch_survives_in_float32():
    # k^2 / 4 per dimension; the textbook form 1/2 (v_q/v_p - 1 + log v_p/v_q) would give 0 or noise here
    parts = kl(torch.zeros(1, 10), torch.zeros(1, 1), torch.full((1, 1), 1e-5))
    assert float(parts.variance_mismatch) == pytest.approx(10 * 1e-10 / 4, rel=1e-4)


def test_units_convert_nats_per_example_once():
    nats = torch.tensor([8 * math.log(2.0)])
    assert float(BITS.per_dim(nats, 4)) == pytest.approx(2.0)
    assert float(NATS.per_dim(nats, 4)) == pytest.approx(2 * math.log(2.0))


def test_expand_casts_and_shapes_and_per_example_sums():
    data = torch.ones(3, 2, 2, 2)
    weight = expand(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), data)
    assert weight.dtype == torch.float32 and weight.shape == (3, 1, 1, 1)
    torch.testing.assert_close(per_example(weight * data), torch.tensor([8.0, 16.0, 24.0]))
