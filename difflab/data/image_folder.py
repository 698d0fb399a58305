"""Pictures from a folder tree, cropped to a square and resized; Pillow is imported when the first one is read."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Pictures, Split, check_limit

SUFFIXES = {".png", ".jpg", ".jpeg"}
SPLITS = ("train", "val", "test")


class ImageFolder(Pictures):
    """root/train, root/val, root/test, or one tree divided by the hash of each file's path below root.

    If there is a root/train, a missing root/val or root/test is filled from it, by the same hash. A label is the
    number of the file's first sub-folder (0 without any); an index is the file's place in the sorted list of all
    paths; each split is in the order of the hashes, so that `limit` takes a mixture. Raises ConfigError that names the
    key, the folder or the file.
    """

    def __init__(
        self,
        *,
        root: str | None,
        size: int,
        channels: int,
        val_fraction: float,
        test_fraction: float,
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
        if not 0 <= num_workers <= 64:
            raise ConfigError(f"data.num_workers={num_workers} is out of range: give 0..64 decoding threads.")
        top = Path(root).expanduser()
        found = _list(top)
        paths = _divide(top, found, val_fraction, test_fraction)
        check_limit(limit, len(paths["train"]))
        paths["train"] = paths["train"][:limit]  # what `limit` drops is not decoded
        index = {path: i for i, path in enumerate(found)}
        classes = {name: i for i, name in enumerate(sorted({_folder(path) for path in found}))}
        splits = {}
        for name, members in paths.items():
            label = torch.tensor([classes[_folder(path)] for path in members])
            number = torch.tensor([index[path] for path in members])
            splits[name] = Split(name, _decode(top, members, size, channels, num_workers), label, number)
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


def _decode(root: Path, paths: list[str], size: int, channels: int, num_workers: int) -> Tensor:
    """uint8 [N, C, size, size]. Pillow lets go of the interpreter lock while it decodes, so threads help."""
    try:
        x = torch.empty(len(paths), channels, size, size, dtype=torch.uint8)
    except RuntimeError as error:
        raise ConfigError(f"data.size={size}: {len(paths):,} pictures do not fit into memory, lower it.") from error

    def one(i: int) -> None:
        x[i] = _read(root / paths[i], size, channels)

    if num_workers == 0:
        for i in range(len(paths)):
            one(i)
    else:
        with ThreadPoolExecutor(num_workers) as pool:
            for _ in pool.map(one, range(len(paths))):
                pass
    return x


def _read(path: Path, size: int, channels: int) -> Tensor:
    """uint8 [C, size, size]: turned as its EXIF says, cropped to the central square, shrunk with Lanczos.

    Never enlarged: the likelihood of invented pixels is no figure worth having.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ConfigError("data=image_folder needs Pillow, which is not installed: pip install pillow.") from error
    try:
        with Image.open(path) as file:
            if file.mode[0] in "IF":
                raise ConfigError(f"{path} has more than 8 bits per value (mode {file.mode}): convert it to 8 bits.")
            picture = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} cannot be read as a picture ({error}): repair or remove it.") from error
    if min(picture.size) < size:
        raise ConfigError(
            f"{path} is {picture.width} x {picture.height}, smaller than data.size={size}, and pictures are "
            "never enlarged: lower data.size or remove it."
        )
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    # Two steps: resize(box=...) lets Lanczos reach over the box's edge into what is cropped away.
    picture = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).reshape(size, size, channels).permute(2, 0, 1)
