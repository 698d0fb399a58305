"""The nearest neighbour of each of many examples: found by matrix products, then measured exactly.

|q - r|^2 = |q|^2 + |r|^2 - 2 q'r in float32 loses what two near vectors have in common, so it only proposes a neighbour.
The distance reported is that of the proposed pair, from its differences: in whole numbers for grey levels, in float64 for
continuous values. Where rounding could hide a pair nearer than `sure`, the example is searched again in float64, in which
products of grey levels are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.base import Stored

OnBatch = Callable[[int], None]  # query x reference pairs done
TILE = 2048  # queries at a time
ROWS, FLOATS = 4096, 2**24  # reference examples at a time, at most so many values


@dataclass(frozen=True)
class Nearest:
    """squared: float64 [Q], exact (inf: nothing to be near to). place: int64 [Q], position in the reference (-1: none)."""

    squared: Tensor
    place: Tensor

    def nearer(self, other: Nearest) -> Nearest:
        """The nearer of two neighbours, the first where they are equally near."""
        far = other.squared < self.squared
        return Nearest(torch.where(far, other.squared, self.squared), torch.where(far, other.place, self.place))


def nearest(
    queries: Tensor, own: Tensor, reference: Stored, rows: Tensor, sure: float = 0.0, on_batch: OnBatch = lambda n: None
) -> Nearest:
    """Of each query [Q, ...], among reference[rows]; `own` int64 [Q]: its own position in the reference, -1 for none.

    rows: int64, increasing. sure: a squared distance up to which no neighbour may be missed for rounding.
    """
    if not len(rows):
        return Nearest(torch.full((len(queries),), torch.inf, dtype=torch.float64), torch.full((len(queries),), -1))
    centre = _centre(reference, rows)
    whole = not reference.dtype.is_floating_point
    proposed, place = _search(
        queries, own, reference, rows, centre, torch.float32 if whole else torch.float64, on_batch
    )
    found = Nearest(_exact(queries, reference, place), place)
    if whole:
        dims = centre.numel()
        norm = _norms(queries, centre).sqrt() + sure**0.5
        slack = 4 * (dims + 4) * 2.0**-24 * norm.square()
        again = ((proposed <= sure + slack) & (found.squared > sure)).nonzero().flatten()
        if len(again):
            _, better = _search(queries[again], own[again], reference, rows, centre, torch.float64, lambda n: None)
            found.place[again] = better
            found.squared[again] = _exact(queries[again], reference, better)
    return found


def _search(
    queries: Tensor, own: Tensor, reference: Stored, rows: Tensor, centre: Tensor, dtype: torch.dtype, on_batch: OnBatch
) -> tuple[Tensor, Tensor]:
    """(about the squared distance, float64 [Q]; place of the neighbour)."""
    half = torch.full((len(queries),), torch.inf, dtype=dtype)  # |r|^2/2 - q'r, which |q|^2/2 completes
    place = torch.full((len(queries),), -1, dtype=torch.int64)
    for part in rows.split(max(1, min(ROWS, FLOATS // centre.numel()))):
        r = reference[part].flatten(1).to(dtype) - centre.to(dtype)
        base, turned = r.square().sum(1) / 2, r.T.contiguous()
        at = torch.searchsorted(part, own).clamp(max=len(part) - 1)
        itself = part[at] == own
        for start in range(0, len(queries), TILE):
            some = slice(start, start + TILE)
            q = queries[some].flatten(1).to(dtype) - centre.to(dtype)
            value = torch.addmm(base, q, turned, alpha=-1)
            mine = itself[some].nonzero().flatten()
            value[mine, at[some][mine]] = torch.inf
            low, column = value.min(1)
            better = low < half[some]
            half[some] = torch.where(better, low, half[some])
            place[some] = torch.where(better, part[column], place[some])
            on_batch(len(q) * len(part))
    return 2 * half.double() + _norms(queries, centre), place


def _centre(reference: Stored, rows: Tensor) -> Tensor:
    """float64 [D]: about the mean, whole for grey levels, so that what is multiplied is small."""
    mean = reference[rows[:: max(1, len(rows) // 1024)]].flatten(1).double().mean(0)
    return mean if reference.dtype.is_floating_point else mean.round()


def _norms(x: Tensor, centre: Tensor) -> Tensor:
    return torch.cat([(part.flatten(1).double() - centre).square().sum(1) for part in x.split(TILE)])


def _exact(queries: Tensor, reference: Stored, place: Tensor) -> Tensor:
    """float64 [Q]: squared distances of the pairs (below 2^53, so exact for grey levels)."""
    squared = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    for part in (place >= 0).nonzero().flatten().split(max(1, min(TILE, FLOATS // max(1, queries[0].numel())))):
        difference = queries[part].flatten(1).double() - reference[place[part]].flatten(1).double()
        squared[part] = difference.square().sum(1)
    return squared
