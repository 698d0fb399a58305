"""Exact copies, by a digest of every example: within a split, across splits, mirrored or shifted by a pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOVES = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def digests(x: Tensor) -> list[bytes]:
    """16 bytes for each example of x [N, ...]; equal values have equal digests (-0.0 is 0.0)."""
    rows = x.flatten(1)
    rows = (rows + 0.0 if rows.is_floating_point() else rows).contiguous().numpy()
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]


def turned(x: Tensor) -> Iterator[Tensor]:
    """Pictures [N, C, H, W] as a copy of them might look: left and right exchanged, then moved by a pixel in each of 8
    directions (what leaves on one side comes back on the other: a shift, where the margin is of one colour)."""
    yield x.flip(-1)
    for move in MOVES:
        yield x.roll(move, (-2, -1))


@dataclass(frozen=True)
class Copies:
    """Examples of one split that are found in another, or for a second time in the same one.

    pairs: (position in the first, position of the copy in the second). relabelled: pairs with two labels.
    """

    pairs: list[tuple[int, int]]
    relabelled: int

    @property
    def count(self) -> int:
        return len(self.pairs)


class Digests:
    """The digests of a split, in order, and where each value is seen first."""

    def __init__(self, label: Tensor) -> None:
        self.label = label
        self.all: list[bytes] = []
        self.first: dict[bytes, int] = {}

    def add(self, x: Tensor) -> None:
        """The next examples, [n, ...]."""
        for digest in digests(x):
            self.first.setdefault(digest, len(self.all))
            self.all.append(digest)

    def repeated(self) -> Copies:
        """Examples that repeat an earlier one."""
        return self._copies(self, [(i, self.first[d]) for i, d in enumerate(self.all) if self.first[d] != i])

    def within(self, other: Digests) -> Copies:
        """Examples that stand in `other`, too."""
        return self._copies(other, [(i, other.first[d]) for i, d in enumerate(self.all) if d in other.first])

    def _copies(self, other: Digests, pairs: list[tuple[int, int]]) -> Copies:
        if not pairs:
            return Copies([], 0)
        mine, theirs = torch.tensor(pairs).T
        return Copies(pairs, int((self.label[mine] != other.label[theirs]).sum()))


class Turned:
    """Counts pictures that are in `known` once they are mirrored or shifted, and are not in it as they are."""

    def __init__(self, known: Digests) -> None:
        self.known, self.seen, self.pairs = known, 0, list[tuple[int, int]]()

    def add(self, x: Tensor) -> None:
        """The next pictures, [n, C, H, W]."""
        find: Callable[[bytes], int | None] = self.known.first.get
        plain = [find(digest) for digest in digests(x)]
        found: Sequence[int | None] = [None] * len(x)
        for view in turned(x):
            found = [old if old is not None else find(digest) for old, digest in zip(found, digests(view))]
        self.pairs += [
            (self.seen + i, place)
            for i, (place, same) in enumerate(zip(found, plain))
            if place is not None and same is None
        ]
        self.seen += len(x)
