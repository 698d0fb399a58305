import pytest
import torch

from difflab.data.base import Pictures, Split
from difflab.errors import ConfigError


def pictures(levels: int = 17, channels: int = 1, limit: int | None = None) -> Pictures:
    class Made(Pictures):
        @property
        def source(self) -> str:
            return "made here"

    generator = torch.Generator().manual_seed(0)
    splits = {}
    for number, name in enumerate(("train", "val", "test")):
        x = torch.randint(levels, (6, channels, 2, 2), generator=generator, dtype=torch.uint8)
        splits[name] = Split(name, x, torch.zeros(6, dtype=torch.int64), torch.arange(6) + 6 * number)
    return Made((channels, 2, 2), levels, limit=limit, **splits)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_levels_span_the_unit_interval_exactly_and_evenly(levels):
    x0 = pictures(levels).to_unit(torch.arange(levels, dtype=torch.uint8))
    assert x0.dtype == torch.float32
    assert x0[0] == -1 and x0[-1] == 1
    torch.testing.assert_close(x0.diff(), torch.full((levels - 1,), 2 / (levels - 1)), rtol=1e-4, atol=1e-6)


def test_pixels_are_the_levels_again_and_clamped():
    data = pictures(256)
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(data.to_pixels(data.to_unit(every)), every)
    assert data.to_pixels(torch.tensor([-7.0, 7.0]).view(2, 1, 1, 1)).flatten().tolist() == [0, 255]
    assert pictures(17).to_pixels(torch.zeros(1, 1, 1, 1)).item() == 128


def test_vectors_have_no_pixels(make):
    with pytest.raises(ValueError, match="no pixels"):
        make("swiss_roll", train_size=2, val_size=2, test_size=2).to_pixels(torch.zeros(1, 2))


def test_limit_keeps_the_first_training_examples_and_nothing_else_changes():
    whole, few = pictures(), pictures(limit=2)
    assert torch.equal(few.train.x, whole.train.x[:2]) and few.train.index.tolist() == [0, 1]
    assert few.sha256["val"] == whole.sha256["val"] and few.sha256["test"] == whole.sha256["test"]
    assert few.sha256["train"] != whole.sha256["train"]


@pytest.mark.parametrize("limit", [0, -1, 7, 2.5, "3", True])
def test_an_impossible_limit_is_refused(limit):
    with pytest.raises(ConfigError, match=r"data\.limit=.*1\.\.6"):
        pictures(limit=limit)


@pytest.mark.parametrize("part", ["x", "label", "index"])
def test_sha256_sees_every_part_of_a_split(part):
    split = pictures().test
    parts = {"x": split.x.clone(), "label": split.label.clone(), "index": split.index.clone()}
    assert Split("test", **parts).sha256 == split.sha256
    parts[part].view(-1)[0] += 1
    assert Split("test", **parts).sha256 != split.sha256


def test_sha256_sees_the_shape():
    split = pictures().test
    assert Split("test", split.x.flatten(1), split.label, split.index).sha256 != split.sha256


def test_a_split_of_unequal_parts_is_refused():
    with pytest.raises(ValueError, match="2 x, 1 labels"):
        Split("train", torch.zeros(2, 1), torch.zeros(1), torch.zeros(2))


def test_describe_and_dims():
    assert pictures(channels=3).dims == 12
    assert pictures(limit=4).describe() == "4 train / 6 val / 6 test, 1 x 2 x 2, 17 levels"
