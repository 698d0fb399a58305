"""A data set -> everything its card says, as numbers; the pictures' own material beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.base import Data, Split
from ..errors import ConfigError
from . import moments as m
from .balance import counts, homogeneity
from .copies import MOVES, Copies, Digests, Turned
from .coverage import coverage
from .neighbours import Nearest, nearest

CHUNK = 4096
WORK = 10**12  # multiply-adds of one split's search: about a minute of one thread
BYTES = 2**28  # of one split's examples that are kept for the search
PROBES = 0.25  # of the training examples at most, so that what is left is nearly all
MULTIPLES = (1, 2, 4)  # of the distance called near, at which pairs are counted: a reader judges the threshold
SHARE, CHANCE = 0.1, 0.01  # near copies of vectors, see `near_vectors`
SHOWN = 24  # closest pairs that are drawn
EARLY = 20  # pairs of exact copies that card.json names


@dataclass
class Material:
    """What the figures are drawn from. distances: {"train": of the probes, held-out split: ...}, in the card's unit.
    pairs: (split, position there, position in train, distance), closest first. card: what card.json holds."""

    data: Data
    moments: dict[str, m.Moments] = field(default_factory=dict)
    along: dict[str, Tensor] = field(default_factory=dict)
    distances: dict[str, np.ndarray] = field(default_factory=dict)
    pairs: list[tuple[str, int, int, float]] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)


def collect(data: Data, name: str, near: float, examples: int | None, progress: Callable[[int, int], None]) -> Material:
    """`near`, `examples`: task.near and task.examples. ConfigError for those out of range, for values that are not finite,
    and for examples that cannot be read."""
    if not 0 <= near <= 255:
        raise ConfigError(f"task.near={near} is out of range: give grey levels of 255, 0 (exact copies only) to 255.")
    if examples is not None and examples < 1:
        raise ConfigError(f"task.examples={examples} is out of range: give at least 1, or null for all.")
    splits = {split.name: split for split in (data.train, data.val, data.test)}
    material = Material(data)
    classes = 1 + max(int(split.label.max()) for split in splits.values())
    material.card = {
        "data": name, "source": data.source, "shape": list(data.shape), "dims": data.dims, "levels": data.levels,
        "unit": unit(data), "classes": classes,
        "exact": _passes(material, splits),
        "splits": {key: _split(material, split, classes) for key, split in splits.items()},
    }  # fmt: skip
    material.card |= _neighbours(material, splits, near, examples, progress)
    labels = {key: counts(split.label, classes) for key, split in splits.items()}
    material.card["balance"] = {
        key: homogeneity(labels["train"], labels[key]) for key in ("val", "test") if classes > 1
    }
    material.card["spectrum"] = _spectra(material)
    material.card["floors"] = data.floors()
    return material


def unit(data: Data) -> str:
    """Of distances: root mean square over the values of an example."""
    return "grey levels of 255" if data.levels else "units of the data"


def rms(data: Data, squared: Tensor) -> Tensor:
    """Squared distances of stored values in the card's unit."""
    return (squared / data.dims).sqrt() * (255 / (data.levels - 1) if data.levels and data.levels > 1 else 1)


def _passes(material: Material, splits: dict[str, Split]) -> dict[str, Any]:
    """Each split once, in chunks: its moments, its digests, copies."""
    data, known, exact = material.data, dict[str, Digests](), dict[str, Any]()
    pictures = len(data.shape) == 3
    for key, split in splits.items():
        known[key] = Digests(split.label)
        views = Turned(known["train"]) if pictures and key != "train" else None

        def parts(
            split: Split = split, digests: Digests = known[key], views: Turned | None = views
        ) -> Iterator[Tensor]:
            for part in split.x.split(_chunk(data.dims)):
                if part.is_floating_point() and not bool(part.isfinite().all()):
                    lost = int((~part.isfinite()).sum())
                    raise ConfigError(
                        f"the {split.name} split of the data holds {lost} values that are not finite; repair it."
                    )
                digests.add(part)
                if views:
                    views.add(part)
                yield part

        material.moments[key] = m.moments(parts(), data.shape, data.levels, data.to_unit)
        exact[key] = {"repeated": _copies(known[key].repeated(), split, split)}
        for other in [other for other in known if other != key]:
            exact[key][f"in_{other}"] = _copies(known[key].within(known[other]), split, splits[other])
        if views:
            exact[key]["turned_in_train"] = {"count": len(views.pairs), "views": 1 + len(MOVES)}
    return exact


def _chunk(dims: int) -> int:
    return max(1, min(CHUNK, 2**22 // dims))


def _copies(copies: Copies, split: Split, other: Split) -> dict[str, Any]:
    first = copies.pairs[:EARLY]
    return {
        "count": copies.count, "relabelled": copies.relabelled,
        "first": [[int(split.index[i]), int(other.index[j])] for i, j in first],  # the data's own numbers
    }  # fmt: skip


def _split(material: Material, split: Split, classes: int) -> dict[str, Any]:
    got, data = material.moments[split.name], material.data
    result: dict[str, Any] = {
        "examples": len(split), "sha256": split.sha256, "classes": counts(split.label, classes).tolist(),
        "mean": float(got.mean.mean()), "std": math.sqrt(got.variance),
        "constant_values": int((got.std == 0).sum()),
    }  # fmt: skip
    if got.levels is not None and data.levels:
        train = material.moments["train"].levels
        assert train is not None
        share = got.levels / got.levels.sum()
        result |= {
            "levels": got.levels.tolist(), "levels_used": int((got.levels > 0).sum()),
            "lowest": float(share[0]), "highest": float(share[-1]), "levels_from_train": m.distance(got.levels, train),
        }  # fmt: skip
    return result


def _spectra(material: Material) -> dict[str, Any]:
    """Power over frequency and variance along the training set's principal directions, on the scale of [-1, 1]."""
    result: dict[str, Any] = {}
    for key, got in material.moments.items():
        if got.power is not None:
            frequency, power, number = m.rings(got.power)
            result["cycles_per_pixel"], result["frequencies"] = frequency.tolist(), number.tolist()
            result.setdefault("power", {})[key] = power.tolist()
    trained = material.moments["train"].covariance
    if trained is not None:
        directions = m.principal(trained)
        for key, got in material.moments.items():
            assert got.covariance is not None
            material.along[key] = m.along(directions, got.covariance).clamp(min=0)
            result.setdefault("variance_along", {})[key] = material.along[key].tolist()
    return result


def _neighbours(
    material: Material,
    splits: dict[str, Split],
    near: float,
    examples: int | None,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    data = material.data
    rows = {
        key: _some(len(split), _affordable(split, splits["train"], data.dims, examples))
        for key, split in splits.items()
    }
    x = {key: split.x[rows[key]] for key, split in splits.items()}
    train = len(splits["train"])
    probes = rows["train"][: min(len(rows["train"]), max(1, int(PROBES * train)) if train > 1 else 0)]
    others = torch.ones(train, dtype=torch.bool)
    others[probes] = False
    pools = [others.nonzero().flatten(), probes.sort().values]
    queries = torch.cat([x["train"], x["val"], x["test"]])
    own = torch.cat([rows["train"], torch.full((len(x["val"]) + len(x["test"]),), -1)])
    held = torch.cat([x["val"], x["test"]])
    total = len(queries) * train + len(held) * len(splits["val"]) + len(x["test"]) * len(splits["test"])
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    scale = 1.0 if data.levels is None else (data.levels - 1) / 255
    sure = 0.0 if data.levels is None else data.dims * (MULTIPLES[-1] * near * scale) ** 2
    left, probed = (nearest(queries, own, splits["train"].x, pool, sure, on_batch) for pool in pools)
    lengths = [len(x[key]) for key in splits]
    in_train = dict(zip(splits, _divided(left.nearer(probed), lengths)))
    to_left = dict(zip(splits, _divided(left, lengths)))
    every = {key: torch.arange(len(splits[key])) for key in ("val", "test")}
    in_val = nearest(
        held, torch.cat([rows["val"], torch.full((len(x["test"]),), -1)]), splits["val"].x, every["val"], sure, on_batch
    )
    in_test = nearest(x["test"], rows["test"], splits["test"].x, every["test"], sure, on_batch)
    val_val, test_val = _divided(in_val, lengths[1:])
    found = {
        ("train", "train"): in_train["train"], ("val", "train"): in_train["val"], ("test", "train"): in_train["test"],
        ("val", "val"): val_val, ("test", "val"): test_val, ("test", "test"): in_test,
    }  # fmt: skip
    probe = rms(data, to_left["train"].squared[: len(probes)])
    usual = float(probe[probe > 0].median()) if bool((probe > 0).any()) else None
    limit = near if data.levels else near_vectors(usual, data.dims, sum(lengths))
    near_found = [_near(data, key, other, got, len(splits[key]), limit) for (key, other), got in found.items()]
    result = {
        "search": {
            "examples": {key: len(rows[key]) for key in splits}, "near": limit, "usual": usual, "probes": len(probes)
        },
        "near": near_found,
        "coverage": {},
    }  # fmt: skip
    for key in ("val", "test"):
        distances = rms(data, in_train[key].squared)
        material.pairs += [
            (key, int(rows[key][i]), int(in_train[key].place[i]), float(distances[i]))
            for i in distances.argsort()[:SHOWN].tolist()
        ]
    material.pairs = sorted(material.pairs, key=lambda pair: pair[3])[:SHOWN]
    if len(probes):
        labels = {key: split.label[rows[key]] for key, split in splits.items()}
        material.distances = {"train": probe.numpy()}
        for key in ("val", "test"):
            material.distances[key] = rms(data, to_left[key].squared).numpy()
            same = labels[key] == splits["train"].label[in_train[key].place]
            result["coverage"][key] = coverage(material.distances[key], material.distances["train"]) | {
                "same_label": float(same.double().mean()),
                "classes": _per_class(
                    material.distances, key, labels["train"][: len(probes)].numpy(), labels[key].numpy(), same.numpy()
                ),
            }
    return result


def _per_class(
    distances: dict[str, np.ndarray], key: str, probe: np.ndarray, held: np.ndarray, same: np.ndarray
) -> dict[str, Any]:
    """Coverage of each class that both have."""
    return {
        str(label): coverage(distances[key][held == label], distances["train"][probe == label])
        | {"same_label": float(same[held == label].mean())}
        for label in np.intersect1d(probe, held).tolist()
    }


def near_vectors(usual: float | None, dims: int, searched: int) -> float:
    """The distance below which vectors are near copies: SHARE of the usual distance between neighbours, or less.

    Draws of a density in few dimensions come as near as they like. With a locally even density ln 2 (d / median)^dims is
    exponential, so among `searched` examples about CHANCE lie nearer than (CHANCE / (searched ln 2))^(1 / dims) of it.
    """
    return 0.0 if usual is None else usual * min(SHARE, (CHANCE / (searched * math.log(2))) ** (1 / dims))


def _near(data: Data, key: str, other: str, found: Nearest, available: int, limit: float) -> dict[str, Any]:
    distance = rms(data, found.squared)

    def within(times: int) -> int:
        return int(((found.squared > 0) & (distance <= times * limit)).sum())

    return {
        "of": key, "in": other, "searched": len(distance), "available": available,
        **{name: within(times) for name, times in zip(("count", "within_twice", "within_four_times"), MULTIPLES)},
        "exact": int((found.squared == 0).sum()),
        "smallest": float(distance.min()) if bool(distance.isfinite().any()) else None,
    }  # fmt: skip


def _divided(found: Nearest, lengths: list[int]) -> list[Nearest]:
    return [Nearest(*pair) for pair in zip(found.squared.split(lengths), found.place.split(lengths))]


def _affordable(split: Split, train: Split, dims: int, examples: int | None) -> int:
    if examples is None:
        return len(split)
    size = dims * (4 if train.x.dtype.is_floating_point else 1)
    return max(1, min(examples, WORK // (len(train) * dims), BYTES // size))


def _some(available: int, wanted: int) -> Tensor:
    """So many positions, drawn once and for all (numpy's RandomState is frozen), in the order of the draw."""
    return torch.from_numpy(np.random.RandomState(0).permutation(available)[:wanted])
