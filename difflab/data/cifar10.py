"""CIFAR-10: 60,000 colour photographs of ten kinds of things, 32 x 32 pixels on 256 levels."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch

from ..errors import ConfigError
from ._published import cache, fetch, named, usual
from .base import Pictures, Split

FOLDER = "cifar-10-batches-bin"
FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
ARCHIVE = "cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, the green and the blue plane, row by row
RECORDS = 10_000  # in each file
CLASSES = 10
VALIDATION = 5_000  # the last of data_batch_5.bin
PICKLES = ("cifar-10-batches-py", "cifar-10-python.tar.gz")  # what torchvision downloads


class Cifar10(Pictures):
    """Splits 45,000 / 5,000 / 10,000; index: the place in data_batch_1..5 + test_batch. Krizhevsky (2009).

    Of the published binary version, as its folder or as the archive. Of the archive the sha256 is checked, and its six
    files are read without writing them; of the folder's files no sums are published, so their sizes and labels are
    checked. root: the folder, one that holds it, or the archive, searched only there; None: the environment variable
    DIFFLAB_DATA, the usual places, then (download) url + archive's name. Raises ConfigError if nothing is found or a
    file is damaged.
    """

    def __init__(self, *, root: str | None, download: bool, url: str, limit: int | None) -> None:
        places = list(_places(root))
        path = next(filter(None, map(_held, places)), None)
        pickles = next((p for place in places for p in (place, *(place / x for x in PICKLES)) if _pickled(p)), None)
        if path is None and download and root is None:
            path = _download(url)
        if path is None:
            raise ConfigError(_how_to_get(root, pickles))
        batches = _unpacked(path) if path.is_file() else [_content(path / name) for name in FILES]
        labels, x = zip(
            *(_read(batch, f"{path}: {name}") for batch, name in zip(batches, FILES, strict=True)), strict=True
        )
        x, label = torch.cat(x), torch.cat(labels)
        splits, start, train = {}, 0, len(x) - RECORDS
        for name, end in (("train", train - VALIDATION), ("val", train), ("test", len(x))):
            splits[name] = Split(name, x[start:end], label[start:end], torch.arange(start, end))
            start = end
        super().__init__(SHAPE, 256, limit=limit, **splits)

    @property
    def source(self) -> str:
        return "CIFAR-10, Krizhevsky 2009 (Learning multiple layers of features from tiny images), published without a licence."


def _places(root: str | None) -> Iterator[Path]:
    """Folders to look into, first to last; root or DIFFLAB_DATA may be the archive itself."""
    first = named(root)
    for top in [*([first] if first else []), *(usual() if root is None else [])]:
        yield from (top, top / FOLDER)
        yield from (top / name / sub for name in ("CIFAR10", "cifar10", "cifar-10") for sub in ("", FOLDER))


def _held(place: Path) -> Path | None:
    """The folder of the six files, or the archive, that this place is or holds."""
    if all((place / name).is_file() for name in FILES):
        return place
    return next((path for path in (place, place / ARCHIVE) if path.name == ARCHIVE and path.is_file()), None)


def _pickled(path: Path) -> bool:
    return path.name in PICKLES and path.exists()


def _download(url: str) -> Path:
    path = cache() / "cifar-10" / ARCHIVE
    print(f"difflab: downloading CIFAR-10 (170 MB) from {url} to {path.parent}", file=sys.stderr)
    fetch(f"{url.rstrip('/')}/{ARCHIVE}", path, lambda content: hashlib.sha256(content).hexdigest() == SHA256)
    return path


def _unpacked(path: Path) -> list[bytes]:
    """The six files of the archive, which never touch the disk."""
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
                raise ConfigError(
                    f"{path} is not the published archive (its sha256 differs): delete it and get it anew, or set data.root."
                )
        found: dict[str, bytes] = {}
        with tarfile.open(path, "r|gz") as tar:  # in one pass: going back would decompress it again
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                if folder == FOLDER and name in FILES and (file := tar.extractfile(member)):
                    found[name] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): delete it and get it anew.") from error
    return [found.get(name, b"") for name in FILES]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error}): get it anew.") from error


def _read(content: bytes, where: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(label int64 [RECORDS], x uint8 [RECORDS, 3, 32, 32]) of one file; ConfigError that names it."""
    if len(content) != RECORDS * RECORD:
        raise ConfigError(
            f"{where} has {len(content):,} bytes and not {RECORDS:,} records of {RECORD:,}: it is damaged or another "
            "set's, get it anew or set data.root."
        )
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(RECORDS, RECORD)
    if (worst := int(rows[:, 0].max())) >= CLASSES:
        raise ConfigError(
            f"{where} holds the label {worst}, and those of CIFAR-10 are 0..{CLASSES - 1}: it is damaged or another "
            "set's, get it anew or set data.root."
        )
    return rows[:, 0].long(), rows[:, 1:].reshape(RECORDS, *SHAPE)


def _only(pickles: Path | None) -> str:
    return f", only the Python version, {pickles}, whose pickles are never read" if pickles else ""


def _how_to_get(root: str | None, pickles: Path | None) -> str:
    what = f"the binary version of CIFAR-10 (the folder {FOLDER} or {ARCHIVE})"
    if root is not None:
        return f"data.root={root} does not hold {what}{_only(pickles)}: give the folder that does, or null to search and download."
    return (
        f"data: {what} was not found{_only(pickles)}: set data.root or the environment variable DIFFLAB_DATA to a folder that "
        "holds it, or use data.download=true where there is a network."
    )
