"""Parseval, white noise, and directions on which splits are measured alike."""

from __future__ import annotations

import pytest
import torch

from difflab.card.moments import MAX_DIMS, along, distance, moments, principal, rings
from tests.card.conftest import draws, noise


def unit(x: torch.Tensor) -> torch.Tensor:
    return x.float() / 127.5 - 1


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 5, 5), (1, 4, 7)])
def test_parseval(shape) -> None:
    x = noise(40, 0, shape)
    got = moments(x.split(7), shape, 256, unit)
    assert got.power is not None and got.examples == 40
    _, power, number = rings(got.power)
    pixels = shape[1] * shape[2]
    assert int(number.sum()) == pixels
    assert float((power * number).sum()) / pixels == pytest.approx(got.variance, rel=1e-12)
    direct = unit(x).double()
    assert got.variance == pytest.approx(float(direct.var(0, unbiased=False).mean()), rel=1e-10)
    torch.testing.assert_close(got.mean, direct.mean(0))


def test_white_noise_is_flat_and_a_wave_is_a_line() -> None:
    x = torch.randn(4000, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    got = moments(x.split(512), (1, 16, 16), None, lambda part: 2 * part)
    assert got.power is not None
    _, power, number = rings(got.power)
    error = 4 / (4000 * number.double()).sqrt() * 2**0.5  # of a mean of squares of variance 4
    assert ((power - 4).abs() < 4 * error).all()
    phase = torch.rand(500, 1, 1, 1, generator=torch.Generator().manual_seed(1)) * 2 * torch.pi
    wave = torch.cos(2 * torch.pi * 4 / 16 * torch.arange(16) + phase).expand(500, 1, 16, 16)
    got = moments([wave], (1, 16, 16), None, lambda part: part)
    assert got.power is not None
    frequency, power, number = rings(got.power)
    assert float(frequency[power.argmax()]) == 0.25
    assert float(power.max() * number[power.argmax()]) / 256 == pytest.approx(got.variance, rel=1e-6)


def test_variance_along_the_training_directions() -> None:
    x = draws(500, 0, 4).double() @ torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1]).double())
    got = moments([x], (4,), None, lambda part: part)
    assert got.power is None and got.levels is None and got.covariance is not None
    torch.testing.assert_close(got.covariance, torch.cov(x.T, correction=0))
    directions = principal(got.covariance)
    variances = along(directions, got.covariance)
    torch.testing.assert_close(variances, torch.linalg.eigvalsh(got.covariance).flip(0))
    assert float(variances.sum()) == pytest.approx(4 * got.variance)
    # another split of the same law with twice the scatter has four times the variance along each of them
    torch.testing.assert_close(along(directions, 4 * got.covariance), 4 * variances)


def test_a_covariance_too_large_is_left_out() -> None:
    got = moments([noise(3, 0, (1, 33, 33))], (1, 33, 33), 256, unit)
    assert MAX_DIMS < 33 * 33 and got.covariance is None and got.power is not None


def test_grey_levels() -> None:
    got = moments([torch.tensor([[[[0, 3], [3, 3]]]], dtype=torch.uint8)], (1, 2, 2), 4, unit)
    assert got.levels is not None and got.levels.tolist() == [1, 0, 0, 3]
    assert distance(got.levels, torch.tensor([4, 0, 0, 0])) == 0.75
