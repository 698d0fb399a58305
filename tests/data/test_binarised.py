"""Binary pictures keep the grey ones' splits and, drawn, their grey values as the probability of a 1."""

import math
from pathlib import Path

import pytest
import torch

from difflab.data._binarised import Binarised
from difflab.data.base import Pictures, Split
from difflab.errors import ConfigError

WHOLE = {"method": "stochastic", "threshold": 0.5, "draw_seed": 0, "limit": None}


class Grey(Pictures):
    """Every grey value in one picture of 16 x 16, so often in each split."""

    def __init__(self, copies: int = 400) -> None:
        x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(copies, -1, -1, -1)
        at = torch.arange(copies)
        splits = {name: Split(name, x, at % 7, at + k * copies) for k, name in enumerate(("train", "val", "test"))}
        super().__init__((1, 16, 16), 256, limit=None, **splits)

    @property
    def source(self) -> str:
        return "A ramp."


def test_a_drawn_pixel_is_white_with_probability_grey_over_255():
    data = Binarised(Grey(), **WHOLE)
    share = torch.cat([data.train.x, data.val.x, data.test.x]).flatten(1).double().mean(0)
    p = torch.arange(256).double() / 255
    assert share[0] == 0 and share[255] == 1
    z = (share - p)[1:255] / (p * (1 - p) / 1200).sqrt()[1:255]
    assert float(z.square().sum()) == pytest.approx(254, abs=4 * math.sqrt(2 * 254))  # chi^2
    assert (data.levels, data.train.x.dtype, data.shape) == (2, torch.uint8, (1, 16, 16))


def test_the_draw_is_fixed_and_each_splits_own():
    data, again = Binarised(Grey(), **WHOLE), Binarised(Grey(), **WHOLE)
    assert data.sha256 == again.sha256
    assert not torch.equal(data.train.x, data.val.x)
    assert Binarised(Grey(), **WHOLE | {"draw_seed": 1}).sha256["test"] != data.sha256["test"]
    few = Binarised(Grey(), **WHOLE | {"limit": 5})
    assert torch.equal(few.train.x, data.train.x[:5]) and few.sha256["test"] == data.sha256["test"]
    assert torch.equal(data.val.index, Grey().val.index) and torch.equal(data.val.label, Grey().val.label)


@pytest.mark.parametrize(("threshold", "white"), [(0.5, 128), (0.0, 255), (0.25, 192), (0.999, 1)])
def test_a_threshold(threshold, white):
    data = Binarised(Grey(1), **WHOLE | {"method": "threshold", "threshold": threshold})
    assert int(data.train.x.sum()) == white == int((torch.arange(256) / 255 > threshold).sum())


def test_floors_in_bits_a_pixel():
    """A pixel that is the same in all training pictures has the code length of the smoothed histogram."""
    data = Binarised(Grey(9), **WHOLE | {"method": "threshold"})
    floors = data.floors()
    assert floors["uniform"] == 1
    assert floors["per-pixel histogram"] == pytest.approx(-math.log2(9.5 / 10))


@pytest.mark.parametrize(
    ("key", "value"), [("method", "dither"), ("threshold", 1.0), ("threshold", -0.1), ("threshold", math.nan), ("draw_seed", -1), ("limit", 401)]
)  # fmt: skip
def test_a_value_out_of_range_is_named(key, value):
    with pytest.raises(ConfigError, match=rf"data\.{key}={value}.*\.$"):
        Binarised(Grey(), **WHOLE | {key: value})


def test_fashion_mnist_itself(make):
    try:
        data = make("binarised_fashion_mnist", download=False)
    except ConfigError as error:
        pytest.skip(str(error))
    grey = make("fashion_mnist", download=False)
    assert [len(split) for split in (data.train, data.val, data.test)] == [55_000, 5_000, 10_000]
    mean = float(data.test.x.double().mean())
    assert mean == pytest.approx(float(grey.test.x.double().mean()) / 255, abs=4 * 0.5 / math.sqrt(7.84e6))
    assert data.source.startswith("Fashion-MNIST, Xiao") and "drawn here (data.draw_seed=0)." in data.source


@pytest.mark.parametrize("name", ["binarised_mnist", "binarised_fashion_mnist"])
def test_files_are_looked_for_as_the_grey_sets_are(make, tmp_path: Path, name):
    with pytest.raises(ConfigError, match=r"data\.root=.* does not hold .*MNIST"):
        make(name, root=str(tmp_path))


def test_a_bound_in_nats_for_each_picture():
    from difflab.console import nats_line
    from difflab.gaussian import BITS

    totals = {"bpd": 0.15, "bpd_se": 0.001}
    nats = 0.15 * 784 * math.log(2)
    assert nats_line(totals, BITS, 784, "picture") == f"nats/picture: {nats:.4f} ± {nats / 150:.4f}"
    assert nats_line({"bpd": 0.15}, BITS, 784, "picture") == f"nats/picture: {nats:.4f}"
