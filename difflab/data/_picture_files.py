"""Pictures in files: reading one, reading many at once, and leaving them where they are until they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from ..errors import ConfigError


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """uint8 [N, channels, size, size], in files below `root`; a base.Stored.

    names: bytes [N], paths relative to root. threads: that decode, 0 for none (Pillow lets go of the interpreter lock
    while it decodes). Reading raises ConfigError that names the file.
    """

    root: Path
    names: np.ndarray  # not a list: counting references to its strings, each process of a loader would copy them
    size: int
    channels: int
    threads: int
    dtype = torch.uint8

    @classmethod
    def below(cls, root: Path, paths: Sequence[str], size: int, channels: int, threads: int) -> PictureFiles:
        return cls(root, np.array([os.fsencode(path) for path in paths]), size, channels, threads)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.names), self.channels, self.size, self.size))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, rows: slice, /) -> PictureFiles: ...
    @overload
    def __getitem__(self, rows: Tensor, /) -> Tensor: ...
    def __getitem__(self, rows: slice | Tensor, /) -> PictureFiles | Tensor:
        if isinstance(rows, slice):
            return replace(self, names=self.names[rows])
        different, place = rows.unique(return_inverse=True)  # an evaluation asks for an example at many t
        return self._decoded(different.tolist())[place]

    def split(self, size: int, /) -> Iterator[Tensor]:
        """All of them, `size` at a time."""
        for start in range(0, len(self), size):
            yield self._decoded(range(start, min(start + size, len(self))))

    def read(self) -> Tensor:
        """All of them at once."""
        return self._decoded(range(len(self)))

    def _decoded(self, positions: Sequence[int]) -> Tensor:
        x = torch.empty(len(positions), *self.shape[1:], dtype=self.dtype)

        def one(i: int) -> None:
            x[i] = read_picture(self.root / os.fsdecode(self.names[positions[i]]), self.size, self.channels)

        rows = range(len(positions))
        if self.threads == 0 or get_worker_info():  # a loader's processes are parallel already
            _exhaust(map(one, rows))
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                _exhaust(pool.map(one, rows))
        return x


def _exhaust(results: Iterable[None]) -> None:
    for _ in results:
        pass


def read_picture(path: Path, size: int, channels: int) -> Tensor:
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
