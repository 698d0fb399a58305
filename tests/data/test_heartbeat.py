"""The heartbeat is `period` sequences of equal probability: every figure of the law is an integer's logarithm."""

import math

import pytest
import torch

from difflab.errors import ConfigError

SMALL = {"train_size": 3000, "val_size": 200, "test_size": 500}


def h2(p: float) -> float:
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def test_the_papers_set(make):
    data = make("heartbeat", **SMALL)
    assert (data.shape, data.levels, data.train.x.dtype) == ((20,), 2, torch.uint8)
    sequences, count = data.train.x.unique(dim=0, return_counts=True)
    assert sequences.sum(1).tolist() == [4] * 5 and sequences.sum(0).tolist() == [1] * 20
    beats = sequences.nonzero()[:, 1].view(5, 4)
    assert (beats.diff(dim=1) == 5).all()
    assert float((count / 3000 - 0.2).abs().max()) < 4 * math.sqrt(0.16 / 3000)
    first = data.train.x.argmax(1)
    assert torch.equal(first, data.train.label)


def test_floors_are_the_papers_figures(make):
    data = make("heartbeat", **SMALL)
    floors = {name: 20 * value for name, value in data.floors().items()}
    assert floors == pytest.approx({"uniform": 20, "independent Bernoulli": 14.439, "entropy": 2.322}, abs=5e-4)
    assert data.null.bits == pytest.approx(-14.439, abs=5e-4) and (data.null.per, data.null.values) == ("sequence", 20)
    # table 1: K = -2.414 and K - L_null = 12.024
    assert -2.414 - data.null.bits == pytest.approx(12.024, abs=2e-3)


@pytest.mark.parametrize(("length", "period"), [(7, 3), (2, 2), (9, 9)])
def test_other_lengths_and_periods(make, length, period):
    """The entropy of the draws, and the independent bins' code length in the mean over the equally likely sequences."""
    data = make("heartbeat", length=length, period=period, **SMALL)
    sequences = data.train.x.unique(dim=0).double()
    assert len(sequences) == period
    q = torch.tensor(1 / period, dtype=torch.float64)
    nll = -(sequences * q.log2() + (1 - sequences) * (1 - q).log2()).sum(1).mean()
    floors = data.floors()
    assert float(nll) == pytest.approx(length * floors["independent Bernoulli"]) == pytest.approx(-data.null.bits)
    assert length * floors["entropy"] == pytest.approx(math.log2(period))
    assert floors["independent Bernoulli"] == pytest.approx(h2(1 / period))


def test_fixed_independent_splits_that_a_longer_set_continues(make):
    short, long = (make("heartbeat", **SMALL | {"train_size": size}) for size in (300, 700))
    assert torch.equal(short.train.x, long.train.x[:300]) and short.sha256["test"] == long.sha256["test"]
    assert make("heartbeat", draw_seed=1, **SMALL).sha256["train"] != make("heartbeat", **SMALL).sha256["train"]
    every = torch.cat([long.train.index, long.val.index, long.test.index])
    assert len(every.unique()) == len(every)
    assert not torch.equal(long.val.label[:100], long.test.label[:100])


def test_samples_are_rows_of_bins(make, tmp_path):
    from matplotlib.image import imread

    data = make("heartbeat", **SMALL)
    x = data.to_unit(data.test.x[:40])
    assert torch.equal(data.from_unit(x), data.test.x[:40])
    path = data.show(x, tmp_path / "step.0")
    assert path.name == "step.0.png"
    grid = torch.from_numpy(imread(path)[..., 0])
    bin_, gap = 4, 2  # pixels of a bin's width: 64 / 20, rounded up; bins are three times as high
    assert grid.shape == (20 * (3 * bin_ + gap) + gap, 2 * (20 * bin_ + gap) + gap)
    row, left = gap + 5 * (3 * bin_ + gap), gap
    assert torch.equal(
        grid[row + 1, left : left + 80 : bin_], data.test.x[10].float()
    )  # two columns: the 11th is below


@pytest.mark.parametrize(
    ("key", "value"), [("length", 1), ("length", 5000), ("period", 1), ("period", 21), ("train_size", 0), ("limit", 0)]
)
def test_a_value_out_of_range_is_named(make, key, value):
    with pytest.raises(ConfigError, match=rf"data\.{key}={value}.*\.$"):
        make("heartbeat", **(SMALL | {key: value}))
