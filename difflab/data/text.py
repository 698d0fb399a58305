"""The characters of a text file, a chunk at a time: pictures of height 1 on as many levels as the text has characters."""

from __future__ import annotations

import math
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from ..files import write_atomically
from ._floors import CHUNK, SMOOTHING
from ._idx import decompress
from .base import Data, Split, Stored

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # the state of characters that are no state of their own
MAX_LEVELS = 256  # a uint8's
LENGTH = 4096  # of a chunk at most


class Text(Data):
    """Chunks [1, 1, length] of a UTF-8 file (plain or gzipped), without overlap; train, val and test are its first, next and
    last part, a remainder of each that fills no chunk is left out.

    path: None for the text in the package. States are the characters of the training part, in the order of Unicode; those
    that occur there fewer than min_count times, and those only of the other parts, are one state more, UNKNOWN, the last
    (where there are any: `unknown` counts them in each split). All figures are then those of the text with these characters
    replaced. Neither states nor splits depend on `limit`. Raises ConfigError that names the key, for values out of range and
    for a file that cannot be used.
    """

    metric = False

    def __init__(
        self,
        *,
        path: str | None,
        length: int,
        min_count: int,
        val_fraction: float,
        test_fraction: float,
        limit: int | None,
    ) -> None:
        if not 1 <= length <= LENGTH:
            raise ConfigError(f"data.length={length} is out of range: give the characters of a chunk, 1 to {LENGTH}.")
        if min_count < 1:
            raise ConfigError(
                f"data.min_count={min_count} is out of range: give 1 (every character is a state) or more."
            )
        if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
            raise ConfigError(
                f"data.val_fraction={val_fraction} with data.test_fraction={test_fraction} leaves a split empty: "
                "both must be positive and their sum below 1."
            )
        self.path = path
        points = np.frombuffer(_read(path).encode("utf-32-le"), np.uint32)
        parts = _divide(points, path, length, val_fraction, test_fraction)
        alphabet, count = np.unique(parts["train"], return_counts=True)
        alphabet = alphabet[count >= min_count]
        known = {name: np.isin(part, alphabet) for name, part in parts.items()}
        self.unknown = {name: int((~mask).sum()) for name, mask in known.items()}
        self.alphabet = "".join(map(chr, alphabet)) + UNKNOWN * any(self.unknown.values())
        if not 2 <= len(self.alphabet) <= MAX_LEVELS:
            raise ConfigError(_states(path, len(self.alphabet), min_count))
        splits, start = {}, 0
        for name, part in parts.items():
            state = np.where(known[name], np.searchsorted(alphabet, part), len(alphabet)).astype(np.uint8)
            x = torch.from_numpy(state).view(-1, 1, 1, length)
            splits[name] = Split(name, x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)) + start)
            start += len(x)
        super().__init__((1, 1, length), len(self.alphabet), limit=limit, **splits)

    @property
    def source(self) -> str:
        where = "Help topics of Python 3.11.7, PSF licence, embedded" if self.path is None else f"Text of {self.path}"
        lost = ", ".join(f"{count:,} in {name}" for name, count in self.unknown.items() if count)
        return where + (f"; characters replaced by one for all unknown ones: {lost}" if lost else "") + "."

    def floors(self) -> dict[str, float]:
        """Bits/character: "uniform", "unigram" (one smoothed histogram for all positions), "bigram" (the first character by
        that, each other one by a smoothed histogram for the character before it)."""
        levels = len(self.alphabet)
        single, _, pairs = _counts(self.train.x, levels)
        every, first, follow = _counts(self.test.x, levels)
        unigram, bigram = _log2(single), _log2(pairs)
        return {
            "uniform": math.log2(levels),
            "unigram": -float((every * unigram).sum() / every.sum()),
            "bigram": -float(((first * unigram).sum() + (follow * bigram).sum()) / every.sum()),
        }

    def text(self, x: Tensor) -> list[str]:
        """The strings of states x [N, ..., length] (integers 0..levels-1)."""
        return ["".join(self.alphabet[state] for state in row) for row in x.flatten(1).tolist()]

    def show(self, x0: Tensor, path: Path, columns: int | None = None) -> Path:
        """One sample a line, as UTF-8 text; a line's end is ⏎, other characters that do not show are ·."""
        lines = [_visible(line) for line in self.text(self.from_unit(x0))]
        return write_atomically(path.with_name(f"{path.name}.txt"), lambda file: file.write("\n".join(lines) + "\n"))


def _read(path: str | None) -> str:
    if path is None:
        return decompress(files("difflab.data").joinpath("text.txt.gz").read_bytes()).decode()
    try:
        return decompress(Path(path).expanduser().read_bytes()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"data.path={path} is not UTF-8 (byte {error.start}): convert it, as with iconv -f LATIN1 -t UTF-8."
        ) from error
    except (OSError, EOFError, ValueError, zlib.error) as error:  # ValueError: a name that no file can have
        raise ConfigError(
            f"data.path={path} cannot be read ({error}): give a text file, or null for the one in the package."
        ) from error


def _divide(
    points: np.ndarray, path: str | None, length: int, val_fraction: float, test_fraction: float
) -> dict[str, np.ndarray]:
    """The code points of each split, whole chunks of them."""
    if not len(points):
        raise ConfigError(
            f"data.path={path} is empty: give a file with text in it, or null for the one in the package."
        )
    val, test = (int(len(points) * fraction) for fraction in (val_fraction, test_fraction))
    ends = {"train": len(points) - val - test, "val": len(points) - test, "test": len(points)}
    parts, start = {}, 0
    for name, end in ends.items():
        parts[name] = points[start : start + (end - start) // length * length]
        start = end
    if short := [name for name, part in parts.items() if not len(part)]:
        raise ConfigError(
            f"data.path={path} is too short: its {len(points):,} characters leave no chunk of data.length={length} for "
            f"{' and '.join(short)}; give a longer text, a smaller data.length or other data.val_fraction and "
            "data.test_fraction."
        )
    return parts


def _states(path: str | None, levels: int, min_count: int) -> str:
    """Why a text of so many states is refused."""
    if levels < 2:
        return (
            f"data.path={path} with data.min_count={min_count} leaves {levels} kind of characters, and one says nothing: give "
            "another text or a smaller data.min_count."
        )
    return (
        f"data.path={path} has {levels:,} kinds of characters with data.min_count={min_count}, and at most {MAX_LEVELS} can be "
        "states: raise data.min_count, which makes rare ones one state."
    )


def _counts(x: Stored, levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """float64: how often each state occurs [levels], that at the start of a chunk [levels], each pair [levels, levels]."""
    single, first = torch.zeros(levels, dtype=torch.float64), torch.zeros(levels, dtype=torch.float64)
    pairs = torch.zeros(levels**2, dtype=torch.float64)
    for part in x.split(CHUNK):
        rows = part.flatten(1).long()
        single += torch.bincount(rows.flatten(), minlength=levels)
        first += torch.bincount(rows[:, 0], minlength=levels)
        pairs += torch.bincount((rows[:, :-1] * levels + rows[:, 1:]).flatten(), minlength=levels**2)
    return single, first, pairs.view(levels, levels)


def _log2(counts: Tensor) -> Tensor:
    """log2 of the smoothed share of each state in the last dimension."""
    smoothed = counts + SMOOTHING
    return (smoothed / smoothed.sum(-1, keepdim=True)).log2()


def _visible(line: str) -> str:
    return "".join("⏎" if c == "\n" else c if c.isprintable() else "·" for c in line)
