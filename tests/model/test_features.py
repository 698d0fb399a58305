"""The inputs: octaves follow the data's levels, damping is what noise does on average, padding is invisible."""

from __future__ import annotations

import math

import pytest
import torch

from difflab.model._features import Conditioning, Fourier, crop, derived_octaves, pad


@pytest.mark.parametrize(
    ("levels", "octaves"),
    [(None, []), (2, []), (3, [1]), (17, [1, 2, 3, 4]), (18, [2, 3, 4, 5]), (256, [5, 6, 7, 8])],
)
def test_the_finest_octave_has_the_period_of_a_level(levels: int | None, octaves: list[int]) -> None:
    assert derived_octaves(levels) == octaves
    if levels and octaves:
        assert 2 / 2 ** octaves[-1] <= 2 / (levels - 1) < 2 / 2 ** (octaves[-1] - 1)


def test_no_levels_no_octaves_and_an_empty_list_switches_them_off() -> None:
    x_t, log_snr = torch.randn(2, 3, 4, 4), torch.zeros(2)
    for fourier in (Fourier(None, None, True), Fourier(17, [], True)):
        assert fourier.channels == 1
        assert torch.equal(fourier(x_t, log_snr), x_t)


@pytest.mark.parametrize("damping", [True, False])
def test_features_of_clean_data_are_the_plain_waves(damping: bool) -> None:
    x_t = torch.linspace(-1, 1, 17).view(1, 1, 1, 17).expand(2, 3, 1, 17)
    features = Fourier(17, None, damping)(x_t, torch.full((2,), 30.0)).view(2, 9, 3, 1, 17)
    for k in range(1, 5):
        torch.testing.assert_close(features[:, k], torch.sin(2**k * math.pi * x_t), atol=2e-4, rtol=0)
        torch.testing.assert_close(features[:, 4 + k], torch.cos(2**k * math.pi * x_t), atol=2e-4, rtol=0)


def test_damping_is_what_noise_leaves_of_a_wave_on_average() -> None:
    """E sin(2^k pi (x_0 + eps sigma / alpha)) = sin(2^k pi x_0) exp(-(2^k pi sigma / alpha)^2 / 2)."""
    log_snr = torch.tensor([4.0])
    alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    x_t = alpha * 0.3 + sigma * torch.randn(1, 1, 400, 400, generator=torch.Generator().manual_seed(0))
    plain, damped = Fourier(17, [1, 2], False), Fourier(17, [1, 2], True)
    average = plain(x_t / alpha, log_snr).mean((0, 2, 3))
    expected = damped(alpha * torch.full((1, 1, 1, 1), 0.3), log_snr).flatten()
    torch.testing.assert_close(average[1:], expected[1:], atol=5e-3, rtol=0)
    assert expected[1].abs() > 0.1  # not a comparison of zeros


@pytest.mark.parametrize("log_snr", [-math.inf, -25.0, 15.0, 60.0])
def test_features_are_finite_at_every_noise_level(log_snr: float) -> None:
    x_t = torch.randn(2, 1, 4, 4).mul(5).requires_grad_()
    features = Fourier(256, None, True)(x_t, torch.full((2,), log_snr))
    features.sum().backward()
    assert x_t.grad is not None
    assert x_t.grad.isfinite().all()
    assert features.isfinite().all()
    if log_snr < 0:
        assert not features[:, 1:].any()  # a drowned wave is silent


def test_neighbouring_noise_levels_of_a_long_chain_are_told_apart() -> None:
    torch.manual_seed(0)
    embed = Conditioning(64, None)
    log_snr = torch.arange(-25, 15, 0.01)
    step = embed(log_snr, None).diff(dim=0).norm(dim=1)
    assert step.min() > 1e-4
    assert embed.frequencies.dtype == torch.float32
    assert "frequencies" not in embed.state_dict()


@pytest.mark.parametrize(("size", "multiple"), [((7, 9), 4), ((28, 28), 8), ((8, 8), 4), ((5, 8), 8)])
def test_crop_undoes_pad_and_the_margin_is_zero(size: tuple[int, int], multiple: int) -> None:
    x = torch.randn(2, 3, *size)
    padded = pad(x, multiple)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    assert torch.equal(crop(padded, x), x)
    assert padded.count_nonzero() == x.count_nonzero()
    assert (padded is x) == (padded.shape == x.shape)
