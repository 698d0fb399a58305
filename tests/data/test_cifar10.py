"""Of made-up files of ten records: where they are found, what is refused, what the recipes build."""

import hashlib
import io
import pickle
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from difflab.assemble import assemble
from difflab.config.check import check
from difflab.config.compose import composer, plain
from difflab.config.schema import conf_directory, load_schema
from difflab.data import cifar10
from difflab.data.cifar10 import ARCHIVE, FILES, FOLDER, RECORD
from difflab.errors import ConfigError


def pictures() -> tuple[Tensor, Tensor]:
    """(uint8 [6, 10, 3, 32, 32], label uint8 [6, 10]) of the six files."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (6, 10, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return x, torch.randint(10, (6, 10), generator=generator, dtype=torch.uint8)


def contents() -> dict[str, bytes]:
    x, label = pictures()
    records = torch.cat([label[..., None], x.flatten(2)], dim=2)
    return {name: part.numpy().tobytes() for name, part in zip(FILES, records, strict=True)}


def packed(more: dict[str, bytes] | None = None) -> bytes:
    """The archive, with what the published one holds besides, its files in another order."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        members = {f"{FOLDER}/{name}": content for name, content in reversed(contents().items())}
        others = {f"{FOLDER}/readme.html": b"x", f"../{FILES[0]}": b"y", f"{FOLDER}/{FOLDER}/{FILES[1]}": b"z"}
        for name, content in (members | others | (more or {})).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def write(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def archive() -> bytes:
    return packed()


@pytest.fixture(autouse=True)
def small(monkeypatch, nowhere, archive):
    """Small files in place of the published ones, in an empty world: no usual places, no variable."""
    monkeypatch.setattr(cifar10, "RECORDS", 10)
    monkeypatch.setattr(cifar10, "VALIDATION", 5)
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(archive).hexdigest())
    usual = cifar10.usual
    monkeypatch.setattr(cifar10, "usual", lambda: [place for place in usual() if not str(place).startswith("/usr")])


def is_whole(data) -> None:
    x, label = pictures()
    splits = (data.train, data.val, data.test)
    assert (data.shape, data.levels, data.classes) == ((3, 32, 32), 256, 10)
    assert [len(split) for split in splits] == [45, 5, 10]  # validation: the last of the training files
    assert torch.equal(torch.cat([split.x for split in splits]), x.flatten(0, 1))
    assert torch.equal(torch.cat([split.label for split in splits]), label.flatten().long())
    assert torch.equal(torch.cat([split.index for split in splits]), torch.arange(60))


@pytest.mark.parametrize("below", ["", FOLDER, "cifar10", f"CIFAR10/{FOLDER}"])
def test_root_may_be_the_folder_or_one_above_it(make, tmp_path, below):
    write(tmp_path / "x" / below)
    is_whole(make("cifar10", root=str(tmp_path / "x")))


@pytest.mark.parametrize("below", ["", ARCHIVE])
def test_the_archive_is_read_in_place(make, tmp_path, archive, below):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ARCHIVE).write_bytes(archive)
    is_whole(make("cifar10", root=str(tmp_path / "x" / below)))
    assert not [*tmp_path.rglob("*.bin")]


@pytest.mark.parametrize("place", [f"work/data/{FOLDER}", f"home/data/{FOLDER}", "home/.cache/difflab/cifar-10"])
def test_usual_places_are_searched(make, tmp_path, place):
    write(tmp_path / place)
    is_whole(make("cifar10", download=False))


def test_the_variable_names_a_folder_and_a_given_root_is_the_only_place(make, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFLAB_DATA", str(tmp_path / "sets"))
    write(tmp_path / "sets" / FOLDER)
    is_whole(make("cifar10", download=False))
    write(tmp_path / "home" / "data" / FOLDER)
    with pytest.raises(ConfigError, match=r"data\.root=.*elsewhere does not hold .*cifar-10-batches-bin"):
        make("cifar10", root=str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "label"])
def test_a_damaged_file_of_the_folder_is_named(make, tmp_path, damage):
    path = write(tmp_path / "x") / FILES[2]
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-1],
            "longer": content + bytes(RECORD),
            "empty": b"",
            "label": content[: 3 * RECORD] + b"\x0a" + content[3 * RECORD + 1 :],
        }[damage]
    )
    with pytest.raises(ConfigError, match=rf"{FILES[2]} (has|holds the label 10).*data\.root"):
        make("cifar10", root=str(tmp_path / "x"))


def test_another_archive_is_refused_before_it_is_opened(make, tmp_path, archive, monkeypatch):
    (tmp_path / "x").mkdir()
    others = (archive[:-9], packed({"more": b""}), b"")
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("was opened"))
    for content in others:
        (tmp_path / "x" / ARCHIVE).write_bytes(content)
        with pytest.raises(ConfigError, match=rf"{ARCHIVE} is not the published archive"):
            make("cifar10", root=str(tmp_path / "x"))


def test_pickles_are_named_and_never_read(make, tmp_path, monkeypatch):
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("was read"))
    (tmp_path / "work" / "data" / "cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "work" / "data" / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cos\nsystem\n")
    with pytest.raises(
        ConfigError, match=r"cifar-10-binary\.tar\.gz.*only the Python version, .*cifar-10-batches-py, "
    ):
        make("cifar10", download=False)
    with pytest.raises(ConfigError, match=r"data\.root=.*only the Python version, .*cifar-10-batches-py, "):
        make("cifar10", root="data/cifar-10-batches-py")


def test_nothing_found_says_how_to_get_it(make):
    with pytest.raises(ConfigError, match=r"data\.root.*DIFFLAB_DATA.*data\.download=true"):
        make("cifar10", download=False)


def test_download_checks_and_keeps_the_archive(make, tmp_path, archive, capsys):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / ARCHIVE).write_bytes(packed({"more": b""}))
    with pytest.raises(ConfigError, match=r"data\.url: .*not the published file"):
        make("cifar10", url=mirror.as_uri())
    assert not [*(tmp_path / "home").rglob("*.gz*")]
    (mirror / ARCHIVE).write_bytes(archive)
    is_whole(make("cifar10", url=mirror.as_uri()))
    assert "downloading CIFAR-10" in capsys.readouterr().err
    shutil.rmtree(mirror)
    is_whole(make("cifar10", url=mirror.as_uri()))  # from the cache now
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("url", ["file:///nowhere", "http://127.0.0.1:9", "nonsense"])
def test_an_unreachable_mirror_gives_a_sentence(make, url):
    with pytest.raises(ConfigError, match=r"data\.url: .*could not be fetched.*data\.root"):
        make("cifar10", url=url)


RECIPES = {"ddpm": 35.7e6, "improved_ddpm": 52.5e6, "vdm_like": 30.6e6}  # parameters; the papers say 35.7M, 50M and 31M


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_build_on_the_data_at_their_full_size(recipe, tmp_path):
    assert set(RECIPES) == {path.stem for path in (conf_directory() / "experiment" / "cifar10").glob("*.yaml")}
    schema = load_schema()
    with composer(conf_directory(), schema) as composing:
        lines = [f"experiment=cifar10/{recipe}", f"data.root={write(tmp_path / 'x')}", "device=cpu"]
        lab = assemble(check(plain(composing.compose(lines)), schema))
    assert lab.shape == (3, 32, 32) and len(lab.data.train) == 45
    assert sum(p.numel() for p in lab.model.parameters()) == pytest.approx(RECIPES[recipe], rel=2e-3)
