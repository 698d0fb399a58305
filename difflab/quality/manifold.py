"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020), from k nearest neighbours.

The manifold of a set is the union of balls around its points, each as wide as the distance to the point's k-th neighbour in
the set. precision: share of samples in the data's manifold; recall: share of data in the samples'; density: balls of the data
that hold a sample, over k (its mean is 1 for samples of the data's law); coverage: share of the data's balls with a sample in
them. All grow or shrink with the number of points, so both sets have the same.

Distances are taken a block of rows at a time, each pair by itself: neither the block nor the order changes a digit. Every ball
has several radii from one pass: of the whole set, and without each group, and each pair of groups, of the jackknife.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .jackknife import Estimate, group_of, jackknife, pairs_of

Version = tuple[int, ...]  # the groups that it leaves out
AWAY = (1,)  # as in frechet.py
CHUNK = 512
NAMES = ("precision", "recall", "density", "coverage")


def manifold(
    samples: Tensor,
    data: Tensor,
    k: int,
    groups: int,
    chunk: int = CHUNK,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> Mapping[str, Estimate]:
    """{name: estimate} of NAMES, for features [N, d] of as many samples as data. ValueError if two groups leave fewer than k
    neighbours."""
    n = len(samples)
    if n != len(data):
        raise ValueError(f"{n} samples and {len(data)} examples: manifolds are compared at the same number")
    if least(n, groups) < k:
        raise ValueError(f"{n} points in {groups} groups leave fewer than k={k} neighbours")
    work = _Work(4 * math.ceil(n / chunk), on_batch)
    group, pairs = group_of(n, groups), pairs_of(groups, AWAY)
    versions: list[Version] = [(), *((g,) for g in range(groups)), *pairs]
    kept = [~np.isin(group, left_out) for left_out in versions]
    of_data, of_samples = (radii(x, k, groups, versions, chunk, work) for x in (data, samples))
    inside = balls(samples, data, of_data, groups, chunk, work)
    held = balls(data, samples, of_samples, groups, chunk, work)

    def mean(of: Callable[[int], np.ndarray], proportion: bool) -> Estimate:
        """Of what a version says of each point, over the points that are in it."""
        all_in, *rest = (float(of(version)[rows].mean()) for version, rows in enumerate(kept))
        both = [(g, h, found) for (g, h), found in zip(pairs, rest[groups:])]
        return jackknife(all_in, rest[:groups], both, proportion_of=n if proportion else None)

    def reached(version: int) -> np.ndarray:
        """Whether each of the data's balls holds a sample."""
        return np.delete(inside.nearest, versions[version], 0).min(0) <= of_data[version]

    return {
        "precision": mean(lambda version: inside.count[version] > 0, proportion=True),
        "recall": mean(lambda version: held.count[version] > 0, proportion=True),
        "density": mean(lambda version: inside.count[version] / k, proportion=False),
        "coverage": mean(reached, proportion=True),
    }


def least(n: int, groups: int) -> int:
    """Neighbours that a point of n has at least when two groups are left out."""
    return n - 2 * math.ceil(n / groups) - 1


@dataclass
class _Work:
    total: int
    on_batch: Callable[[int, int], None]
    done: int = 0

    def step(self) -> None:
        self.done += 1
        self.on_batch(self.done, self.total)


@dataclass(frozen=True)
class Balls:
    """count int64 [V, N]: balls that hold each point; nearest [G, M]: from each centre to the nearest point of a group."""

    count: np.ndarray
    nearest: np.ndarray


def radii(x: Tensor, k: int, groups: int, versions: Sequence[Version], chunk: int, work: _Work) -> np.ndarray:
    """float32 [V, N]: to the k-th neighbour among those whose groups a version does not leave out; -1 for points that are left
    out themselves."""
    n = len(x)
    result = torch.empty(len(versions), n)
    for first in range(0, n, chunk):
        part = x[first : first + chunk]
        near = _distances(part, x)
        own = torch.arange(len(part))
        near[own, first + own] = math.inf  # no point is its own neighbour
        # of each group the k nearest are enough, whatever other groups are left out
        best = torch.full((len(part), groups, k), math.inf)
        for g in range(groups):
            column = near[:, g::groups]
            found = column.topk(min(k, column.shape[1]), dim=1, largest=False).values
            best[:, g, : found.shape[1]] = found
        for number, left_out in enumerate(versions):
            rest = [g for g in range(groups) if g not in left_out]
            result[number, first : first + len(part)] = best[:, rest].flatten(1).kthvalue(k, 1).values
        work.step()
    for number, left_out in enumerate(versions):
        for g in left_out:
            result[number, g::groups] = -1
    return result.numpy()


def balls(points: Tensor, centres: Tensor, radius: np.ndarray, groups: int, chunk: int, work: _Work) -> Balls:
    """Which balls hold which points, for every version of the radii [V, M]."""
    n, reach = len(points), torch.from_numpy(radius)
    count = torch.empty(len(reach), n, dtype=torch.int64)
    nearest = torch.full((groups, len(centres)), math.inf)
    for first in range(0, n, chunk):
        part = points[first : first + chunk]
        near = _distances(part, centres)
        for version, own in enumerate(reach):
            count[version, first : first + len(part)] = (near <= own).sum(1)
        for g in range(groups):
            mine = near[(g - first) % groups :: groups]
            if len(mine):
                nearest[g] = torch.minimum(nearest[g], mine.amin(0))
        work.step()
    return Balls(count.numpy(), nearest.numpy())


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # by differences: as a product of matrices a point would not be at distance 0 from itself
    return torch.cdist(a.float(), b.float(), compute_mode="donot_use_mm_for_euclid_dist")
