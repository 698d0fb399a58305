"""Spectra: Parseval, white noise, alpha^2 S + sigma^2, and the level at which a band drowns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from difflab.bound.bands import dct
from difflab.mapping.spectrum import centred, drowned, spectrum
from difflab.mapping.walk import forward
from tests.analytic import NORMAL, SCHEDULES, TO_ZERO, cosine, diffusion_of

GENERATOR = torch.Generator().manual_seed(0)


def coloured(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Pictures whose DCT coefficient (i, j) has standard deviation 4 / (1 + i + j)."""
    scale = 4 / (1 + torch.arange(height)[:, None] + torch.arange(width))
    x = torch.randn(count, channels, height, width, generator=GENERATOR, dtype=torch.float64) * scale
    return dct(height).T @ x @ dct(width)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (16, 9), (4, 4), (3, 5)])
def test_the_bands_hold_the_whole_power(height: int, width: int) -> None:
    x = coloured(13, 3, height, width)
    found = spectrum(x)
    assert found.coefficients.sum() == 3 * height * width
    whole = float(x.square().flatten(1).sum(1).mean())
    assert np.nansum(found.coefficients * found.power) == pytest.approx(whole, rel=1e-9)
    assert (np.isnan(found.power) == (found.coefficients == 0)).all()


def test_a_known_spectrum_is_found_and_noise_is_white() -> None:
    count = 4000
    found = spectrum(coloured(count, 1, 8, 8))
    i, j = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    truth = (4 / (1 + i + j)) ** 2
    for k in range(8):
        assert abs(found.power[k] - truth[np.maximum(i, j) == k].mean()) < 4.5 * found.se[k]
    white = spectrum(torch.randn(count, 1, 8, 8, generator=GENERATOR, dtype=torch.float64))
    error = np.sqrt(2 / (count * white.coefficients))
    assert (np.abs(white.power - 1) < 4.5 * error).all()
    assert white.se == pytest.approx(error, rel=0.2)


@pytest.mark.parametrize("make", [cosine, TO_ZERO["linear"]])
def test_x_t_has_alpha2_S_plus_sigma2(make) -> None:
    """Given x_0, a band's mean power has variance (4 alpha^2 sigma^2 S + 2 sigma^4) / (N coefficients)."""
    count, x0 = 2000, coloured(2000, 1, 8, 8)
    diffusion, times = diffusion_of(NORMAL.predict, make(40)), torch.tensor([1, 10, 25, 40])
    path = forward(diffusion, x0, torch.arange(count), times, seed=1)
    clean = spectrum(x0)
    for x, t in zip(path[1:], times):
        level = diffusion.schedule.level(t)
        a, s = float(level.alpha) ** 2, float(level.sigma) ** 2
        error = np.sqrt((4 * a * s * clean.power + 2 * s**2) / (count * clean.coefficients))
        assert (np.abs(spectrum(x).power - (a * clean.power + s)) < 4.5 * error).all()


def test_about_the_mean_picture_a_constant_costs_nothing() -> None:
    x, mean = coloured(50, 1, 8, 8), 3 * torch.randn(8, 8, generator=GENERATOR, dtype=torch.float64)
    torch.testing.assert_close(centred(x + mean), centred(x))
    assert spectrum(centred(x)).power.sum() < spectrum(x + mean).power.sum()
    variance = float((dct(8) @ x @ dct(8).T)[:, 0, 0, 0].var())  # unbiased
    assert spectrum(centred(x)).power[0] == pytest.approx(variance)


@pytest.mark.parametrize("name", [*SCHEDULES, "zero terminal"])
def test_a_band_drowns_where_its_signal_is_the_noise(name: str) -> None:
    log_snr = (TO_ZERO["cosine"] if name == "zero terminal" else SCHEDULES[name])(1000).log_snr.numpy()
    power = np.array([30.0, 4.0, 1.0, 0.3, 0.02])
    t = drowned(power, log_snr)
    assert (np.diff(t) < 0).all()  # what is weak drowns first
    for level, at in zip(power, t):
        low, share = int(at), at - int(at)
        between = log_snr[low] + share * (log_snr[low + 1] - log_snr[low])
        assert level * np.exp(between) == pytest.approx(1, rel=1e-9)  # alpha^2 S = sigma^2


def test_what_never_drowns_and_what_is_drowned_from_the_start() -> None:
    log_snr = cosine(10).log_snr.numpy()
    never, at_once, empty, nothing = np.exp(-log_snr[-1] + 1), np.exp(-log_snr[1] - 1), np.nan, 0.0
    found = drowned(np.array([never, at_once, empty, nothing]), log_snr)
    assert np.isnan(found[[0, 2]]).all()
    assert found[[1, 3]].tolist() == [1.0, 1.0]
