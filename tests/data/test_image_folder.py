import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difflab.data import _floors, image_folder
from difflab.data._memory import free_memory
from difflab.data._picture_files import PictureFiles
from difflab.errors import ConfigError


def paint(path: Path, color: int | tuple[int, int, int], size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


@pytest.fixture
def tree(tmp_path) -> Path:
    for i in range(60):
        paint(tmp_path / "pets" / ("cat" if i % 3 else "dog") / f"{i:02}.png", (i, 2 * i, 3 * i))
    return tmp_path / "pets"


def shades(split) -> list[int]:
    return split.x[:, 0, 0, 0].tolist()


def test_one_tree_is_divided_for_good(make, tree):
    data = make("image_folder", root=str(tree), size=8)
    assert (data.shape, data.levels) == ((3, 8, 8), 256)
    splits = (data.train, data.val, data.test)
    assert sorted(shade for split in splits for shade in shades(split)) == list(range(60))
    before = {name: set(shades(split)) for name, split in zip(("train", "val", "test"), splits, strict=True)}
    paint(tree / "cat" / "zzz.png", (200, 0, 0))
    after = make("image_folder", root=str(tree), size=8)
    for name, kept in before.items():  # one more picture moves no other one
        assert set(shades(getattr(after, name))) - {200} == kept
    assert len(after.train) > 5 * len(after.test)


def test_labels_are_the_folders_and_indices_the_sorted_paths(make, tree):
    data = make("image_folder", root=str(tree), size=8)
    names = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*.png"))
    for split in (data.train, data.val, data.test):
        for shade, label, index in zip(shades(split), split.label.tolist(), split.index.tolist(), strict=True):
            assert label == (0 if shade % 3 else 1)  # cat, dog
            assert names[index].endswith(f"{shade:02}.png")


def test_given_splits_are_kept_and_a_missing_one_comes_from_train(make, tmp_path):
    for split, first in (("train", 0), ("test", 100)):
        for i in range(30):
            paint(tmp_path / split / f"{i}.png", (first + i, 0, 0))
    data = make("image_folder", root=str(tmp_path), size=8, val_fraction=0.2)
    assert sorted(shades(data.test)) == list(range(100, 130))
    assert sorted(shades(data.train) + shades(data.val)) == list(range(30))
    assert {*data.train.label.tolist(), *data.val.label.tolist(), *data.test.label.tolist()} == {0}  # no class folders
    for i in range(4):
        paint(tmp_path / "val" / f"{i}.png", (50 + i, 0, 0))
    data = make("image_folder", root=str(tmp_path), size=8)
    assert len(data.train) == 30 and sorted(shades(data.val)) == [50, 51, 52, 53]


def test_the_central_square_is_kept_and_shrunk(make, tmp_path):
    picture = np.zeros((16, 48, 3), dtype=np.uint8)
    picture[:, 16:32] = 255
    (tmp_path / "train").mkdir()
    Image.fromarray(picture).save(tmp_path / "train" / "wide.png")
    Image.fromarray(picture.transpose(1, 0, 2)).save(tmp_path / "train" / "high.png")
    for split in ("val", "test"):
        paint(tmp_path / split / "x.jpg", (7, 7, 7), (16, 16))
    data = make("image_folder", root=str(tmp_path), size=8)
    assert torch.equal(data.train.x, torch.full((2, 3, 8, 8), 255, dtype=torch.uint8))
    grey = make("image_folder", root=str(tmp_path), size=16, channels=1)
    assert grey.shape == (1, 16, 16) and abs(int(grey.val.x[0, 0, 0, 0]) - 7) <= 1


def test_rows_are_rows_and_a_camera_s_turn_is_undone(make, tmp_path):
    picture = np.zeros((8, 8), dtype=np.uint8)
    picture[0] = 200  # a bright first row
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: to be turned by 90 degrees clockwise
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        Image.fromarray(picture).save(tmp_path / split / "x.png", exif=turned if split == "test" else Image.Exif())
    data = make("image_folder", root=str(tmp_path), size=8, channels=1)
    assert torch.equal(data.train.x[0, 0], torch.from_numpy(picture))
    assert torch.equal(data.test.x[0, 0], torch.from_numpy(picture).rot90(-1))


def test_channels_stay_in_order_and_threads_change_nothing(make, tree):
    alone, pool = (make("image_folder", root=str(tree), size=8, num_workers=n) for n in (0, 4))
    assert alone.sha256 == pool.sha256
    x = alone.train.x[:, :, 0, 0].int()
    assert torch.equal(x[:, 1], 2 * x[:, 0]) and torch.equal(x[:, 2], 3 * x[:, 0])


def test_limit_takes_a_mixture_and_reads_nothing_else(make, tree):
    whole = make("image_folder", root=str(tree), size=8)
    few = make("image_folder", root=str(tree), size=8, limit=12)
    assert shades(few.train) == shades(whole.train)[:12] and set(few.train.label.tolist()) == {0, 1}
    assert few.sha256["test"] == whole.sha256["test"]
    dropped = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*.png"))[int(whole.train.index[-1])]
    (tree / dropped).write_bytes(b"broken")
    assert len(make("image_folder", root=str(tree), size=8, limit=12).train) == 12
    with pytest.raises(ConfigError, match=rf"data\.limit=100.*1\.\.{len(whole.train)}"):
        make("image_folder", root=str(tree), size=8, limit=100)


def test_floors_exist(make, tree):
    assert set(make("image_folder", root=str(tree), size=8).floors()) == {"uniform", "per-pixel histogram", "Gaussian"}


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_an_unreadable_file_is_named(make, tree, content):
    path = tree / "cat" / "01.png"
    path.write_bytes(path.read_bytes()[:45] if content is None else content)
    with pytest.raises(ConfigError, match=r"cat/01\.png cannot be read"):
        make("image_folder", root=str(tree), size=8)


def test_small_and_deep_pictures_are_refused_by_name(make, tree):
    with pytest.raises(ConfigError, match=r"\d\d\.png is 8 x 8, smaller than data\.size=9"):
        make("image_folder", root=str(tree), size=9)
    Image.fromarray(np.full((8, 8), 60000, dtype=np.uint16)).save(tree / "cat" / "deep.png")
    with pytest.raises(ConfigError, match=r"deep\.png has more than 8 bits"):
        make("image_folder", root=str(tree), size=8)


@pytest.mark.parametrize(
    "key, value",
    [("size", 0), ("size", 5000), ("channels", 2), ("val_fraction", 0.0), ("test_fraction", 0.99), ("num_workers", -1)],
)
def test_a_value_out_of_range_is_named(make, tree, key, value):
    with pytest.raises(ConfigError, match=rf"data\.{key}={value}"):
        make("image_folder", root=str(tree), **{key: value})


def test_folders_that_cannot_serve_are_named(make, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.root is null"):
        make("image_folder")
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        make("image_folder", root=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="holds no picture"):
        make("image_folder", root=str(tmp_path))
    paint(tmp_path / "only.png", (0, 0, 0))
    with pytest.raises(ConfigError, match="leaves no picture for"):
        make("image_folder", root=str(tmp_path))
    paint(tmp_path / "test" / "a.png", (0, 0, 0))
    with pytest.raises(ConfigError, match="has test but no train"):
        make("image_folder", root=str(tmp_path))


def test_without_pillow_there_is_a_sentence(make, tree, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match="needs Pillow"):
        make("image_folder", root=str(tree), num_workers=0)


# -- pictures that stay in their files --------------------------------------------------------------------------------


def test_read_when_needed_they_are_the_same_data(make, tree, monkeypatch):
    held, far = (make("image_folder", root=str(tree), size=8, in_memory=value) for value in (True, False))
    assert isinstance(held.train.x, torch.Tensor) and isinstance(far.train.x, PictureFiles)
    assert far.describe() == held.describe()
    hashes, floors = held.sha256, held.floors()
    monkeypatch.setattr(_floors, "CHUNK", 7)  # several chunks, the last one shorter
    assert far.sha256 == hashes and far.floors() == pytest.approx(floors, rel=1e-12)
    assert (far.train.x.shape, far.train.x.dtype, len(far.train.x)) == (
        held.train.x.shape,
        torch.uint8,
        len(held.train),
    )
    positions = torch.tensor([5, 0, 5, 11, 2])  # out of order, and one twice
    assert torch.equal(far.train.x[positions], held.train.x[positions])
    assert torch.equal(far.train.head(9).x[3:][positions[1:2]], held.train.x[3:4])


def test_a_slice_reads_nothing_and_a_picture_is_read_once(make, tree, monkeypatch):
    train = make("image_folder", root=str(tree), size=8, in_memory=False).train
    opened = []
    true_open = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path) or true_open(path))
    part = train.x[2:30]
    assert len(part) == 28 and opened == []
    part[torch.tensor([1, 1, 1, 4])]
    assert len(opened) == 2


def test_auto_keeps_in_memory_what_takes_half_of_it_and_says_when_it_does_not(make, tree, monkeypatch, capsys):
    needed = 60 * 3 * 8 * 8
    for free, kind, said in ((2 * needed, torch.Tensor, ""), (2 * needed - 1, PictureFiles, "data.in_memory=true")):
        monkeypatch.setattr(image_folder, "free_memory", lambda free=free: free)
        data = make("image_folder", root=str(tree), size=8)
        assert all(isinstance(split.x, kind) for split in (data.train, data.val, data.test))
        err = capsys.readouterr().err
        assert said in err and bool(err) == bool(said)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")  # processes of torchrun, each of which would keep them
    for free, kind in ((6 * needed, torch.Tensor), (6 * needed - 1, PictureFiles)):
        monkeypatch.setattr(image_folder, "free_memory", lambda free=free: free)
        assert isinstance(make("image_folder", root=str(tree), size=8).train.x, kind)
    with pytest.raises(ConfigError, match=r"data\.in_memory=perhaps.*true, false or auto"):
        make("image_folder", root=str(tree), in_memory="perhaps")


def test_free_memory_is_a_number_of_bytes():
    assert 2**27 < free_memory() < 2**50


@pytest.mark.parametrize("num_workers", [0, 3])
def test_an_unreadable_file_is_named_when_it_is_reached(make, tree, num_workers):
    (tree / "cat" / "01.png").write_bytes(b"no picture")
    data = make("image_folder", root=str(tree), size=8, in_memory=False, num_workers=num_workers)
    with pytest.raises(ConfigError, match=r"cat/01\.png cannot be read"):
        _ = data.sha256
