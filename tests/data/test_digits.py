import hashlib
from importlib.resources import files

import numpy as np
import pytest
import torch


def test_shapes_levels_and_splits(make):
    data = make("digits")
    assert (data.shape, data.levels, data.dims) == ((1, 8, 8), 17, 64)
    assert [len(split) for split in (data.train, data.val, data.test)] == [1257, 180, 360]
    assert data.train.x.dtype == torch.uint8 and data.train.label.dtype == torch.int64
    every = torch.cat([data.train.index, data.val.index, data.test.index])
    assert torch.equal(every.sort().values, torch.arange(1797))
    assert int(data.train.x.max()) == 16 and int(data.train.x.min()) == 0


def test_the_splits_never_change(make):
    digest = {name: value[:16] for name, value in make("digits").sha256.items()}
    assert digest == {"train": "c02827360edc9e02", "val": "5976568d076c6f2a", "test": "16e420619510ef9f"}


def test_every_split_holds_every_digit_about_equally(make):
    data = make("digits")
    for split in (data.train, data.val, data.test):
        share = torch.bincount(split.label, minlength=10) / len(split)
        assert share.min() > 0.05 and share.max() < 0.16


def test_the_embedded_file_is_scikit_learns(make):
    datasets = pytest.importorskip("sklearn.datasets")
    original, data = datasets.load_digits(), make("digits")
    for split in (data.train, data.val, data.test):
        assert np.array_equal(original.images[split.index.numpy()].astype("uint8"), split.x[:, 0].numpy())
        assert np.array_equal(original.target[split.index.numpy()], split.label.numpy())


def test_attribution_is_shipped_beside_the_file():
    text = files("difflab.data").joinpath("digits_LICENSE.txt").read_text()
    assert "Alpaydin" in text and "CC BY 4.0" in text
    content = files("difflab.data").joinpath("digits.npz").read_bytes()
    assert len(content) < 60_000 and hashlib.sha256(content).hexdigest().startswith("9b77dc5209cf55ce")
