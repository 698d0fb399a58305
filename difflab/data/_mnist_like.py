"""Four IDX files of 28 x 28 grey pictures: where they may lie, how they are fetched, how they are split."""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from ..errors import ConfigError
from ._idx import decompress, read_idx
from ._published import cache, fetch, named, usual
from .base import Pictures, Split

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
VALIDATION = 5_000  # the last of the training file


class MnistLike(Pictures):
    """Splits: all but the last 5,000 training pictures, those 5,000, the test file. Index: the place in train + test.

    folders: names of the set's folder, torchvision's first. sha256: of the decompressed FILES, in their order, always
    checked. root: search there only; None: the environment variable DIFFLAB_DATA, the usual places, then (download)
    url + file name + ".gz". Raises ConfigError if nothing is found or a file is damaged.
    """

    def __init__(
        self,
        *,
        folders: tuple[str, ...],
        sha256: tuple[str, ...],
        root: str | None,
        download: bool,
        url: str,
        limit: int | None,
    ) -> None:
        paths = _find(folders, sha256, root)
        if paths is None and download and root is None:
            paths = _download(folders[0], sha256, url)
        if paths is None:
            raise ConfigError(_how_to_get(folders, root))
        train_x, train_y, test_x, test_y = (read_idx(path, digest) for path, digest in zip(paths, sha256, strict=True))
        x, label = torch.cat([train_x, test_x])[:, None], torch.cat([train_y, test_y]).long()
        splits, start = {}, 0
        for name, end in (("train", len(train_x) - VALIDATION), ("val", len(train_x)), ("test", len(x))):
            splits[name] = Split(name, x[start:end], label[start:end], torch.arange(start, end))
            start = end
        super().__init__(tuple(x.shape[1:]), 256, limit=limit, **splits)


def _find(folders: tuple[str, ...], sha256: tuple[str, ...], root: str | None) -> list[Path] | None:
    """The four files, plain or .gz, of the first place that holds them all."""
    for place, own in _places(folders, root):
        found = [next((p for p in (place / name, place / f"{name}.gz") if p.is_file()), None) for name in FILES]
        paths = [path for path in found if path is not None]
        # All such sets name their files alike: in a folder of another name, the smallest file tells whose they are.
        if len(paths) == len(FILES) and (own or _is(paths[3].read_bytes(), sha256[3])):
            return paths
    return None


def _places(folders: tuple[str, ...], root: str | None) -> Iterator[tuple[Path, bool]]:
    """(folder to look into, whether it is this set's by its name or by the user's word), first to last."""
    if top := named(root):
        yield from ((top, root is not None), (top / "raw", root is not None))
        yield from ((top / folder / sub, True) for folder in folders for sub in ("", "raw"))
    if root is None:
        yield from ((top / folder / sub, True) for top in usual() for folder in folders for sub in ("", "raw"))


def _is(content: bytes, sha256: str) -> bool:
    """Whether these are the bytes expected, gzipped or plain."""
    try:
        return hashlib.sha256(decompress(content)).hexdigest() == sha256
    except (OSError, EOFError, zlib.error):
        return False


def _download(title: str, sha256: tuple[str, ...], url: str) -> list[Path]:
    """The four files, fetched into our cache and checked before they get their names; ConfigError if that fails."""
    folder = cache() / title
    print(f"difflab: downloading {title} from {url} to {folder}", file=sys.stderr)
    paths = [folder / f"{name}.gz" for name in FILES]
    for path, digest in zip(paths, sha256, strict=True):
        fetch(f"{url.rstrip('/')}/{path.name}", path, partial(_is, sha256=digest))
    return paths


def _how_to_get(folders: tuple[str, ...], root: str | None) -> str:
    what = f"{folders[0]} ({FILES[0]}[.gz] and its three companions)"
    if root is not None:
        return f"data.root={root} does not hold {what}: give the folder of these files, or null to search and download."
    return (
        f"data: {what} was not found: set data.root or the environment variable DIFFLAB_DATA to the files' folder, "
        "or use data.download=true where there is a network."
    )
