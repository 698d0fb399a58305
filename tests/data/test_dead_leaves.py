"""Dead leaves have the statistics that integral geometry gives them, wherever in the picture one looks."""

import math

import pytest
import torch

from difflab.errors import ConfigError

SMALL = {"val_size": 2, "test_size": 2}


@pytest.fixture(scope="module")
def leaves():
    from difflab.data.dead_leaves import DeadLeaves

    sizes = {"train_size": 8000, "val_size": 2, "test_size": 300}
    return DeadLeaves(size=12, r_min=1.5, r_max=9.0, noise=2e-3, draw_seed=0, limit=None, **sizes)


def same_leaf(distance: float, a: float, b: float) -> float:
    """P(two points show the same disk) = gamma(d) / (2 gamma(0) - gamma(d)), gamma(d) the mean area that a disk shares with
    itself moved by d: the first disk to cover either covers both (Lee, Mumford & Huang 2001)."""
    r = torch.exp(torch.linspace(math.log(a), math.log(b), 20001, dtype=torch.float64))
    half = (distance / (2 * r)).clamp(max=1)
    shared = 2 * r**2 * half.acos() - distance * (r**2 - (distance / 2) ** 2).clamp(min=0).sqrt()
    gamma, alone = (float(torch.trapezoid(area * r**-3, r)) for area in (shared, math.pi * r**2))
    return gamma / (2 * alone - gamma)


@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (1, 1), (0, 3), (4, 3), (0, 9)])
@pytest.mark.parametrize("where", ["everywhere", "corner"])
def test_two_pixels_share_a_disk_as_often_as_geometry_says(leaves, down, right, where):
    x = leaves.train.x[:, 0]
    same = ((x[:, : 12 - down, : 12 - right] - x[:, down:, right:]).abs() < leaves.noise).double()
    share = same[:, 0, 0] if where == "corner" else same.mean((1, 2))
    expected = same_leaf(math.hypot(down, right), leaves.r_min, leaves.r_max)
    assert abs(float(share.mean()) - expected) < 4 * float(share.std()) / math.sqrt(len(share))


def test_a_pixel_is_uniform_and_noisy(leaves):
    x = leaves.train.x[:, 0, 6, 6].double()
    levels = torch.linspace(-1, 1, 21, dtype=torch.float64)
    rank = (x[:, None] < levels).double().mean(0)
    assert float((rank - (levels + 1) / 2).abs().max()) < 1.7 / math.sqrt(len(x))  # Kolmogorov, 0.6%
    assert leaves.deviation**2 == pytest.approx(1 / 3 + leaves.noise**2 / 12)
    assert float(x.var()) == pytest.approx(leaves.deviation**2, rel=0.04)


def test_the_noise_is_uniform_and_nothing_is_flat(make):
    wide = make("dead_leaves", size=8, noise=0.5, train_size=2000, **SMALL)
    none = make("dead_leaves", size=8, noise=1e-4, train_size=2000, **SMALL)
    noise = (wide.train.x - none.train.x).double()  # the same disks: the noise is drawn after them
    assert float(noise.abs().max()) <= 0.25 + 1e-4
    assert float(noise.var()) == pytest.approx(0.5**2 / 12, rel=0.02)
    assert len(none.train.x[0].unique()) == 64


def test_fixed_independent_splits_that_a_longer_set_continues(make):
    short, long = (make("dead_leaves", size=4, train_size=size, **SMALL) for size in (300, 700))
    assert torch.equal(short.train.x, long.train.x[:300]) and short.sha256["test"] == long.sha256["test"]
    other = make("dead_leaves", size=4, train_size=300, draw_seed=1, **SMALL)
    assert other.sha256["train"] != short.sha256["train"]
    every = torch.cat([long.train.x, long.val.x, long.test.x]).flatten(1)
    assert len(every.unique(dim=0)) == 704 and every.dtype == torch.float32
    assert long.levels is None and long.shape == (1, 4, 4) and "continuous" in long.describe()


def test_floors_and_pixels(leaves):
    floors = leaves.floors()
    assert floors["Gaussian"] < floors["independent Gaussian"] - 0.3
    assert floors["independent Gaussian"] == pytest.approx(
        math.log(leaves.deviation) + math.log(2 * math.pi * math.e) / 2, abs=0.02
    )
    assert leaves.to_pixels(leaves.train.x[:2]).shape == (2, 1, 12, 12)


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", 1), ("r_min", 0.1), ("r_max", 1.0), ("r_max", math.nan), ("r_min", math.nan), ("noise", 0.0),
     ("noise", math.nan), ("train_size", 0), ("draw_seed", -1), ("limit", 0)],
)  # fmt: skip
def test_a_value_out_of_range_is_named(make, key, value):
    with pytest.raises(ConfigError, match=rf"data\.{key}={value}"):
        make("dead_leaves", **({"size": 4, "train_size": 2, **SMALL} | {key: value}))
