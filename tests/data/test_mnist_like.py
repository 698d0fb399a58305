import gzip
import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from difflab.data import _mnist_like, fashion_mnist
from difflab.data._idx import read_idx
from difflab.data._mnist_like import FILES
from difflab.errors import ConfigError

SIZES = {"train": 5004, "t10k": 7}


def idx(x: torch.Tensor) -> bytes:
    head = bytes([0, 0, 8, x.ndim]) + b"".join(n.to_bytes(4, "big") for n in x.shape)
    return head + x.numpy().tobytes()


def contents(seed: int) -> list[bytes]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, *size) for n in SIZES.values() for size in ((3, 3), ())]
    return [idx(torch.randint(10, shape, generator=generator, dtype=torch.uint8)) for shape in shapes]


def write(folder: Path, seed: int = 0, suffix: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(FILES, contents(seed), strict=True):
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch, nowhere):
    """A small set in place of Fashion-MNIST's files, in an empty world: no usual places, no variable."""
    digests = tuple(hashlib.sha256(content).hexdigest() for content in contents(0))
    original = fashion_mnist.MnistLike.__init__

    def init(self, *, sha256, **keys):
        original(self, sha256=digests, **keys)

    monkeypatch.setattr(fashion_mnist.MnistLike, "__init__", init)
    places = _mnist_like._places
    monkeypatch.setattr(
        _mnist_like, "_places", lambda *a: ((p, own) for p, own in places(*a) if not str(p).startswith("/usr"))
    )


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("below", ["", "raw", "FashionMNIST/raw", "fashion-mnist"])
def test_root_may_be_the_folder_or_its_parent_and_files_plain_or_gzipped(make, tmp_path, suffix, below):
    write(tmp_path / "x" / below, suffix=suffix)
    data = make("fashion_mnist", root=str(tmp_path / "x"))
    assert (data.shape, data.levels) == ((1, 3, 3), 256)
    assert [len(s) for s in (data.train, data.val, data.test)] == [4, 5000, 7]
    train = torch.frombuffer(bytearray(contents(0)[0][16:]), dtype=torch.uint8).view(-1, 1, 3, 3)
    assert torch.equal(torch.cat([data.train.x, data.val.x]), train)  # validation: the last 5,000
    every = torch.cat([data.train.index, data.val.index, data.test.index])
    assert torch.equal(every, torch.arange(5011))
    assert data.test.label.tolist() == list(contents(0)[3][8:])


@pytest.mark.parametrize(
    "place", ["work/data/FashionMNIST/raw", "home/data/FashionMNIST/raw", "home/.cache/difflab/FashionMNIST"]
)
def test_usual_places_are_searched(make, tmp_path, place):
    write(tmp_path / place)
    assert len(make("fashion_mnist", download=False).test) == 7


def test_the_variable_may_name_a_folder_that_several_sets_share(make, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFLAB_DATA", str(tmp_path / "sets"))
    write(tmp_path / "sets", seed=1)  # another set, whose files have the same names
    with pytest.raises(ConfigError, match="was not found"):
        make("fashion_mnist", download=False)
    write(tmp_path / "sets" / "FashionMNIST")
    assert len(make("fashion_mnist", download=False).test) == 7


def test_a_given_root_is_the_only_place(make, tmp_path):
    write(tmp_path / "home/data/FashionMNIST")
    with pytest.raises(ConfigError, match=r"data\.root=.*elsewhere does not hold FashionMNIST"):
        make("fashion_mnist", root=str(tmp_path / "elsewhere"))


def test_nothing_found_says_how_to_get_it(make):
    with pytest.raises(ConfigError, match=r"data\.root.*DIFFLAB_DATA.*data\.download=true"):
        make("fashion_mnist", download=False)


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty"])
def test_a_damaged_file_is_named(make, tmp_path, damage):
    write(tmp_path / "x")
    path = tmp_path / "x" / f"{FILES[2]}.gz"
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-9],
            "flipped": content[:40] + bytes([content[40] ^ 1]) + content[41:],
            "other": gzip.compress(contents(1)[2]),
            "empty": b"",
        }[damage]
    )
    with pytest.raises(ConfigError, match=FILES[2]):
        make("fashion_mnist", root=str(tmp_path / "x"))


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08", b"\0\0\x0d\x01\0\0\0\x01abcd", idx(torch.zeros(3, 3).byte())[:-1], b"P5 1 1"]
)
def test_what_is_no_idx_file_is_refused_without_a_known_sha(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConfigError, match="file is no complete IDX"):
        read_idx(tmp_path / "file")


def test_download_checks_and_keeps_the_files(make, tmp_path, capsys):
    url = write(tmp_path / "mirror").as_uri()
    assert len(make("fashion_mnist", url=url).test) == 7
    assert "downloading FashionMNIST" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "mirror")
    assert len(make("fashion_mnist", url=url).test) == 7  # from the cache now
    assert capsys.readouterr().err == ""


def test_a_mirror_of_another_set_is_refused_and_nothing_is_kept(make, tmp_path):
    url = write(tmp_path / "mirror", seed=1).as_uri()
    with pytest.raises(ConfigError, match=r"data\.url: .*not the published file"):
        make("fashion_mnist", url=url)
    assert not list((tmp_path / "home").rglob("*ubyte*"))


@pytest.mark.parametrize("url", ["file:///nowhere", "http://127.0.0.1:9", "nonsense"])
def test_an_unreachable_mirror_gives_a_sentence(make, url):
    with pytest.raises(ConfigError, match=r"data\.url: .*could not be fetched.*data\.root"):
        make("fashion_mnist", url=url)
