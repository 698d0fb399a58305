"""The mean error over frequencies: bands add up exactly, and a known error falls into its own band."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from difflab.bound.bands import BANDS, Bands, dct
from difflab.bound.estimator import Examples, Extras, evaluate_modes
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.insight import band_table
from difflab.bound.ledger import build
from difflab.bound.sums import add_up
from difflab.bound.terms import bound_term
from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.learned_range import LearnedRange
from tests.analytic import cosine, diffusion_of, linear, predict_at, random_pair, shrinking, times


@pytest.mark.parametrize("n", [1, 2, 8, 28])
def test_the_dct_is_orthonormal(n):
    basis = dct(n)
    torch.testing.assert_close(basis @ basis.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-13)
    assert (torch.diff(torch.sign(basis), dim=1) != 0).sum(1).tolist() == list(range(n))  # row k changes sign k times


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (2, 5, 12), (1, 1, 7)])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("clip", [False, True])
def test_bands_add_up_to_the_mean_error(shape, learned, clip):
    T = 30
    x0, eps = random_pair((T, *shape))
    variance = LearnedRange() if learned else FixedBeta(ddpm_t1=False)
    diffusion = diffusion_of(shrinking, linear(T), "eps", variance, DiscretizedGaussian(17))
    network = diffusion.model

    def uneven(x_t, log_snr, cond):  # a variance that differs from pixel to pixel
        raw = network(x_t, log_snr, cond)
        if learned:
            raw[:, shape[0] :] = torch.linspace(-1.5, 1.2, math.prod(shape)).reshape(shape)
        return raw

    prediction = predict_at(replace(diffusion, model=uneven), x0, eps, times(T, 1))
    prediction = prediction.clipped() if clip else prediction
    bands = Bands(*shape[1:]).split(prediction, x0, eps)
    term = bound_term(diffusion.decoder, prediction, x0, eps)
    assert bands.shape == (T, BANDS)
    assert bool((bands >= 0).all())
    assert bool((bands[0] == 0).all())  # t = 1 is the decoder's
    torch.testing.assert_close(bands[1:].sum(1), term.mean_error[1:], rtol=1e-10, atol=0)


@pytest.mark.parametrize(("row", "column", "band"), [(0, 0, 0), (0, 3, 3), (5, 2, 5), (7, 7, 7), (1, 0, 1)])
def test_an_error_of_one_frequency_falls_into_its_band(row, column, band):
    pattern = dct(8)[row][:, None] * dct(8)[column][None]
    x0, eps = random_pair((5, 1, 8, 8))
    T = 5
    diffusion = diffusion_of(lambda x, level: x0 + 0.1 * pattern, cosine(T), "x0", decoder=DiscretizedGaussian(17))
    bands = Bands(8, 8).split(predict_at(diffusion, x0, eps, times(T, 1)), x0, eps)[1:]
    torch.testing.assert_close(bands[:, band], bands.sum(1), rtol=1e-12, atol=0)
    assert bool((bands[:, band] > 0).all())


def test_white_errors_fill_bands_by_their_share_of_the_frequencies():
    T, n = 2, 4000
    x0 = torch.zeros(n, 1, 8, 8, dtype=torch.float64)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)).double()
    diffusion = diffusion_of(lambda x, level: noise, cosine(T), "x0", decoder=DiscretizedGaussian(17))
    t = torch.full((n,), 2)
    share = Bands(8, 8).split(predict_at(diffusion, x0, torch.zeros_like(x0), t), x0, torch.zeros_like(x0)).mean(0)
    np.testing.assert_allclose(share / share.sum(), (2 * np.arange(8) + 1) / 64, rtol=0.05)


def test_the_table_of_bands_adds_up_to_the_ledgers_mean_error():
    T = 12
    x0 = 2 * torch.randint(0, 17, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 16 - 1
    diffusion = diffusion_of(shrinking, cosine(T), "v", LearnedRange(), DiscretizedGaussian(17), head=0.3)
    design = Exhaustive(examples=None, draws=2, target_se=None, clip_x0=False, seed=3, batch_size=64)
    examples = Examples(x0, torch.arange(20))
    modes = {clip: Extras(bands=Bands(8, 8)) for clip in (False, True)}
    for estimate in evaluate_modes(diffusion, examples, design, "cpu", modes):
        sums = add_up(estimate)
        table, ledger = band_table(sums), build(sums)
        total = sum(table[f"band_{k}"] for k in range(BANDS))
        np.testing.assert_allclose(total, ledger.columns["mean_error_bpd"][1:-1], rtol=1e-6)
        assert table["t"].tolist() == list(range(2, T + 1))
        assert all((table[f"band_{k}_se"] > 0).all() for k in range(BANDS))
