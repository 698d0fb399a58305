"""pca is probabilistic PCA with a chain in place of N(0, I): a proper bound for every k, and whiten at k = dims."""

from __future__ import annotations

import math

import pytest
import torch

from difflab.errors import ConfigError
from difflab.space.pca import Pca
from difflab.space.whiten import Whiten
from tests.space.test_linear import FACTOR, GENERATOR, MEAN, corners, learned, of_moments

COVARIANCE = FACTOR @ FACTOR.T


def log_density(x: torch.Tensor, k: int) -> torch.Tensor:
    """log N(x; m, W W' + s2 I) at the maximum likelihood of Tipping & Bishop (1999)."""
    values, vectors = torch.linalg.eigh(COVARIANCE)
    s2 = values[: 4 - k].mean() if k < 4 else torch.zeros(()).double()
    W = vectors[:, 4 - k :] * (values[4 - k :] - s2).sqrt()
    model = W @ W.T + s2 * torch.eye(4).double()
    centred = x.double() - MEAN
    quadratic = (centred @ torch.linalg.inv(model) * centred).sum(1)
    return -0.5 * (quadratic + torch.linalg.slogdet(2 * math.pi * model)[1])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_with_a_normal_z_every_example_has_the_likelihood_of_probabilistic_pca(k: int) -> None:
    space = of_moments(lambda shape, levels: Pca(shape, levels, k=k))
    x = torch.randn(20, 4, generator=GENERATOR)
    found = space.encode(x, None)
    plain = space.plain_nll(found.z)
    assert plain is not None
    assert set(found.parts) == {"space_volume", *(["space_residual"] if k < 4 else [])} == set(space.terms)
    torch.testing.assert_close(found.sum + plain, -log_density(x, k), atol=1e-5, rtol=1e-6)


def test_all_directions_are_whitening() -> None:
    every, whiten = of_moments(lambda shape, levels: Pca(shape, levels, k=4), 17), of_moments(Whiten, 17)
    x, noise = torch.rand(9, 4, generator=GENERATOR), torch.randn(9, 4, generator=GENERATOR)
    a, b = every.encode(x, noise), whiten.encode(x, noise)
    assert torch.equal(a.z, b.z) and torch.equal(a.parts["space_volume"], b.parts["space_volume"])
    assert every.terms == whiten.terms == ("space_volume",)


@pytest.mark.parametrize("k", [1, 3])
def test_on_a_grid_the_bins_of_both_parts_are_those_of_x(k: int) -> None:
    """Every corner of the dequantised cube has the density of y, and all parts together the width of a bin for each
    dimension: what is left is a bound on the probability of the grid's value."""
    levels, width = 9, 0.25
    grid = of_moments(lambda shape, levels: Pca(shape, levels, k=k), levels)
    x = (torch.randint(0, levels, (1, 4), generator=GENERATOR) / 4 - 1).float().expand(16, 4)
    noise = corners(4)
    found = grid.encode(x, noise)
    y = x.double() + width * (torch.special.ndtr(noise) - 0.5)
    still = of_moments(lambda shape, levels: Pca(shape, levels, k=k))
    for name in (
        "mean",
        "basis",
        "eigenvalues",
        "residual_var",
    ):  # with the variance of the noise, which the grid counts
        still.get_buffer(name).copy_(grid.get_buffer(name))
    density = still.encode(y, None)
    torch.testing.assert_close(density.z, found.z)
    torch.testing.assert_close(found.sum, density.sum - 4 * math.log(width))
    assert float(grid.eigenvalues[0] - torch.linalg.eigvalsh(COVARIANCE)[-1]) == pytest.approx(width**2 / 12)


def test_decoding_gives_the_nearest_point_of_the_plane() -> None:
    space = of_moments(lambda shape, levels: Pca(shape, levels, k=2))
    x = torch.randn(6, 4, generator=GENERATOR)
    plane = space.decode(space.encode(x, None).z)
    again = space.encode(plane, None)
    torch.testing.assert_close(again.z, space.encode(x, None).z, atol=1e-5, rtol=1e-5)
    assert torch.allclose((x - plane).double() @ space.basis, torch.zeros(6, 2).double(), atol=1e-5)


def test_fewer_examples_than_dimensions_do_where_a_residual_is_left() -> None:
    few = torch.randn(3, 4, generator=GENERATOR)  # centred, they span two
    assert learned(Pca((4,), None, k=1), few, None).residual_var > 0
    with pytest.raises(
        ConfigError, match=r"space=pca space\.k=2: the training data span too few of their 4 dimensions"
    ):
        learned(Pca((4,), None, k=2), few, None)


@pytest.mark.parametrize("k", [0, 5])
def test_a_k_that_there_is_not_is_refused(k: int) -> None:
    with pytest.raises(ConfigError, match=rf"space\.k={k} is no number of principal directions .*: give 1\.\.4"):
        Pca((1, 2, 2), 17, k=k)
