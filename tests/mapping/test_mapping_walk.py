"""Paths there and back: the forward strip has q's marginals, the walk is the sampler's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from difflab.mapping.walk import forward, places, reverse, shortened
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler
from difflab.sampler.ddim import Ddim
from tests.analytic import NORMAL, SCHEDULES, TO_ZERO, ExactVariance, cosine, diffusion_of

WALKERS: dict[str, Sampler] = {
    "ancestral": Ancestral(steps=None, count=7, clip_x0=False, guidance=1.0), "ancestral in 5": Ancestral(steps=5, count=7, clip_x0=False, guidance=1.0),
    "ddim in 6": Ddim(steps=6, count=7, clip_x0=False, guidance=1.0, eta=0.0), "noisy ddim": Ddim(steps=4, count=7, clip_x0=False, guidance=1.0, eta=0.5),
    "optimal": Ancestral(steps="optimal:3", count=7, clip_x0=False, guidance=1.0),
}  # fmt: skip


@pytest.mark.parametrize("make", [SCHEDULES["cosine"], SCHEDULES["linear"], TO_ZERO["cosine"]])
def test_each_level_of_a_forward_path_has_the_marginals_moments(make) -> None:
    count, x0 = 20_000, torch.tensor([0.8, -1.0], dtype=torch.float64)
    diffusion = diffusion_of(NORMAL.predict, make(40))
    times = torch.tensor([1, 7, 20, 40])
    path = forward(diffusion, x0.expand(count, 2), torch.arange(count), times, seed=0)
    assert path.shape == (5, count, 2)
    assert torch.equal(path[0], x0.expand(count, 2))
    for x, t in zip(path[1:], times):
        level = diffusion.schedule.level(t)
        alpha, sigma = float(level.alpha), float(level.sigma)
        assert bool(((x.mean(0) - alpha * x0).abs() < 4.5 * sigma / count**0.5).all())
        assert bool((((x - alpha * x0).square().mean(0) / sigma**2 - 1).abs() < 4.5 * (2 / count) ** 0.5).all())


def test_a_path_keeps_its_noise_which_its_examples_id_alone_decides() -> None:
    diffusion, times = diffusion_of(NORMAL.predict, cosine(40)), torch.tensor([3, 18, 40])
    index, x0 = torch.tensor([11, 4, 900]), torch.randn(3, 2, dtype=torch.float64)
    path = forward(diffusion, x0, index, times, seed=3)
    levels = [diffusion.schedule.level(t) for t in times]
    eps = [(x - level.alpha * x0) / level.sigma for x, level in zip(path[1:], levels)]
    torch.testing.assert_close(eps[0], eps[2], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(eps[1], eps[2], rtol=1e-9, atol=1e-9)
    assert torch.equal(forward(diffusion, x0[1:2], index[1:2], times, seed=3)[:, 0], path[:, 1])
    assert not torch.equal(forward(diffusion, x0, index, times, seed=4), path)


@pytest.mark.parametrize("name", WALKERS)
def test_a_walk_ends_in_the_samplers_own_picture_from_the_same_noise(name: str) -> None:
    sampler, diffusion = WALKERS[name], diffusion_of(NORMAL.predict, cosine(20), "v", ExactVariance(NORMAL))
    chain = (lambda steps: torch.tensor([1, 3, 20])) if sampler.optimal else None
    walk = reverse(diffusion, sampler, (2,), seed=5, chain=chain)
    wanted = sampler.sample(diffusion, (2,), seed=5, chain=chain)
    assert np.array_equal(walk.x0, wanted.numpy())
    steps = sampler.length(diffusion.schedule)
    visited = chain(steps) if chain else diffusion.schedule.even(steps)
    assert walk.t == visited.flip(0).tolist()
    noise = diffusion.process.prior_sample((7, 2), torch.Generator().manual_seed(5))
    assert np.array_equal(walk.x[0], noise.numpy())
    for t, x, x0_hat in zip(walk.t, walk.x, walk.x0_hat):
        expected = NORMAL.predict(torch.from_numpy(x).double(), diffusion.schedule.level(torch.full((7,), t)))
        np.testing.assert_allclose(x0_hat, expected, rtol=1e-3, atol=1e-3)


def test_levels_are_told_from_the_data_on() -> None:
    diffusion = diffusion_of(NORMAL.predict, cosine(20), "v", ExactVariance(NORMAL))
    walk = reverse(diffusion, WALKERS["ancestral"], (2,), seed=0)
    t, x, x0_hat = walk.at(np.array([0, 4, 19]))
    assert t.tolist() == [1, 5, 20]
    assert np.array_equal(x, np.stack([walk.x0, walk.x[-1], walk.x[-5], walk.x[0]]))
    assert np.array_equal(x0_hat, np.stack([walk.x0_hat[-1], walk.x0_hat[-5], walk.x0_hat[0]]))


@pytest.mark.parametrize("name", [*SCHEDULES, "zero terminal"])
@pytest.mark.parametrize(("T", "shown"), [(1000, 10), (100, 10), (25, 30), (50, 2)])
def test_shown_levels_keep_both_ends_and_rise(name: str, T: int, shown: int) -> None:
    make = TO_ZERO["cosine"] if name == "zero terminal" else SCHEDULES[name]
    log_snr = make(T).log_snr.numpy()[1:]
    chosen = places(log_snr, shown)
    assert chosen[0] == 0
    assert chosen[-1] == len(log_snr) - 1
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) <= shown
    if T == 1000:
        assert len(chosen) >= shown - 1  # a chain may end within what is visible
        steps = -np.diff(log_snr[chosen[1:-1]])
        assert steps.max() < 2.2  # 12 units of log SNR in 7 steps, to the nearest level


def test_a_short_chain_is_shown_whole() -> None:
    for T in (1, 2, 10):
        assert places(cosine(T).log_snr.numpy()[1:], 10).tolist() == list(range(T))


def test_a_shortened_sampler_leaves_the_other_alone() -> None:
    sampler = Ancestral(steps=50, count=64, clip_x0=True, guidance=1.0)
    short = shortened(sampler, 20, 3)
    assert (short.steps, short.count, short.clip_x0) == (20, 3, True)
    assert (sampler.steps, sampler.count) == (50, 64)
    assert shortened(sampler, 100, 3).steps == shortened(sampler, None, 3).steps == 50
    assert shortened(Ancestral(steps=None, count=1, clip_x0=True, guidance=1.0), 100, 3).steps == 100
