"""Pictures from a folder tree, cropped to a square and resized: in memory where they fit, else read when needed."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from ..errors import ConfigError
from ..ranks import on_this_machine
from ._memory import free_memory
from ._picture_files import PictureFiles
from .base import Pictures, Split, check_limit

SUFFIXES = {".png", ".jpg", ".jpeg"}
SPLITS = ("train", "val", "test")
SHARE = 0.5  # of the free memory: pictures that need more stay in their files, unless data.in_memory says otherwise


class ImageFolder(Pictures):
    """root/train, root/val, root/test, or one tree divided by the hash of each file's path below root.

    If there is a root/train, a missing root/val or root/test is filled from it, by the same hash. A label is the
    number of the file's first sub-folder (0 without any); an index is the file's place in the sorted list of all
    paths; each split is in the order of the hashes, so that `limit` takes a mixture. Raises ConfigError that names the
    key, the folder or the file.

    in_memory: decode everything at the start, or each picture whenever it is needed ("auto": by SHARE). Values, hashes,
    floors and results are the same; a picture that cannot be read ends the run when it is reached.
    """

    def __init__(
        self,
        *,
        root: str | None,
        size: int,
        channels: int,
        val_fraction: float,
        test_fraction: float,
        in_memory: bool | str,
        num_workers: int,
        limit: int | None,
    ) -> None:
        if root is None:
            raise ConfigError("data.root is null: data=image_folder needs the folder of the pictures, data.root=DIR.")
        if not 1 <= size <= 1024:
            raise ConfigError(f"data.size={size} is out of range: give the pictures' side in pixels, 1..1024.")
        if channels not in (1, 3):
            raise ConfigError(f"data.channels={channels} is not allowed: give 1 (grey) or 3 (RGB).")
        if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
            raise ConfigError(
                f"data.val_fraction={val_fraction} with data.test_fraction={test_fraction} leaves a split empty: "
                "both must be positive and their sum below 1."
            )
        if in_memory not in ("auto", True, False):
            raise ConfigError(f"data.in_memory={in_memory} is not allowed: give true, false or auto.")
        if not 0 <= num_workers <= 64:
            raise ConfigError(f"data.num_workers={num_workers} is out of range: give 0..64 decoding threads.")
        top = Path(root).expanduser()
        found = _list(top)
        paths = _divide(top, found, val_fraction, test_fraction)
        check_limit(limit, len(paths["train"]))
        paths["train"] = paths["train"][:limit]  # what `limit` drops is not decoded
        index = {path: i for i, path in enumerate(found)}
        classes = {name: i for i, name in enumerate(sorted({_folder(path) for path in found}))}
        keep = in_memory
        if in_memory == "auto":
            keep = _fits(sum(map(len, paths.values())), channels * size**2)
        splits = {}
        for name, members in paths.items():
            label = torch.tensor([classes[_folder(path)] for path in members])
            number = torch.tensor([index[path] for path in members])
            files = PictureFiles.below(top, members, size, channels, num_workers)
            splits[name] = Split(name, _read(files) if keep else files, label, number)
        self.root = top
        super().__init__((channels, size, size), 256, limit=limit, **splits)

    @property
    def source(self) -> str:
        return f"Pictures below {self.root}."


def _list(root: Path) -> list[str]:
    """Paths of the pictures below `root`, relative and with slashes on every system, sorted."""
    if not root.is_dir():
        raise ConfigError(f"data.root={root} is no folder: give the one that holds the pictures.")
    found = [path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        raise ConfigError(f"data.root={root} holds no picture: put {', '.join(sorted(SUFFIXES))} files there.")
    return sorted(path.relative_to(root).as_posix() for path in found)


def _divide(root: Path, found: list[str], val_fraction: float, test_fraction: float) -> dict[str, list[str]]:
    """The paths of each split, in the order of their hashes. A path's split does not depend on the other files."""
    has = {name for name in SPLITS if (root / name).is_dir()}
    if has and "train" not in has:
        raise ConfigError(
            f"data.root={root} has {' and '.join(sorted(has))} but no train: add it, or name another tree."
        )
    divided: dict[str, list[str]] = {name: [] for name in SPLITS}
    for path in sorted(found, key=_hash):
        name = PurePosixPath(path).parts[0] if has else "train"
        if name not in SPLITS:
            continue  # beside train/, val/ and test/, nothing counts
        if name == "train":
            at = int(_hash(path)[:16], 16) / 2**64
            if "test" not in has and at < test_fraction:
                name = "test"
            elif "val" not in has and at >= 1 - val_fraction:
                name = "val"
        divided[name].append(path)
    if empty := [name for name, paths in divided.items() if not paths]:
        raise ConfigError(
            f"data.root={root} leaves no picture for {' and '.join(empty)} ({len(found)} found): add pictures or raise "
            "data.val_fraction and data.test_fraction."
        )
    return divided


def _hash(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def _folder(path: str) -> str:
    """The class's folder: the first one below root, or below root/train and its like; "" without one."""
    parts = PurePosixPath(path).parts[:-1]
    return next((part for part in parts[:2] if part not in SPLITS), "")


def _fits(count: int, dims: int) -> bool:
    """Whether so many pictures may be kept in memory; if not, a line says so."""
    needed, free = count * dims, free_memory() // on_this_machine()
    if needed <= SHARE * free:
        return True
    print(
        f"difflab: {count:,} pictures take {needed / 1e9:.1f} GB, more than {SHARE:.0%} of the {free / 1e9:.1f} GB of free "
        "memory: they stay in their files and are read when needed (data.in_memory=true keeps them)",
        file=sys.stderr,
    )
    return False


def _read(files: PictureFiles) -> Tensor:
    try:
        return files.read()
    except RuntimeError as error:
        raise ConfigError(
            f"data.size={files.size}: {len(files):,} pictures do not fit into memory, lower it or set data.in_memory=false."
        ) from error
