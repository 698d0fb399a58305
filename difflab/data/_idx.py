"""The IDX file format of MNIST and its descendants: big-endian header, then bytes."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConfigError


def read_idx(path: Path, sha256: str | None = None) -> Tensor:
    """uint8 tensor of an IDX file, gzipped or plain (told by content, not by name).

    sha256: of the decompressed bytes, because distributions compress the same content differently. Raises ConfigError
    that names the file if it cannot be read, is cut short, is no IDX file of bytes, or does not have that sha256.
    """
    try:
        content = decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read ({error}): delete it and get it anew.") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ConfigError(
            f"{path} is not the published file (its decompressed sha256 differs): it is damaged or another set's, "
            "get it anew or set data.root."
        )
    dims = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0  # 0x08: unsigned bytes
    start = 4 + 4 * dims
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    if dims == 0 or len(content) != start + math.prod(shape):
        raise ConfigError(f"{path} is no complete IDX file of bytes: delete it and get it anew.")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].reshape(shape)


def decompress(content: bytes) -> bytes:
    """The content itself, or what it holds if it is gzipped."""
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
