"""What every data set is: three fixed splits, the map to [-1, 1], and the floors a model has to beat."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, overload

import torch
from torch import Tensor

from ..errors import ConfigError
from . import _floors

UNKNOWN = -1  # what a network is told of an example in place of its label


class Stored(Protocol):
    """Examples [N, ...] wherever they are: a tensor, or what reads them when they are asked for.

    As with a tensor, a slice is a view, which reads nothing, and int64 positions [n] give a new tensor [n, ...].
    """

    @property
    def shape(self) -> torch.Size: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, rows: slice, /) -> Stored: ...
    @overload
    def __getitem__(self, rows: Tensor, /) -> Tensor: ...
    def split(self, size: int, /) -> Iterable[Tensor]:
        """All of them in order, `size` at a time."""
        ...


@dataclass(frozen=True, eq=False)
class Split:
    """A fixed list of examples.

    x: uint8 [N, C, H, W] with values 0..levels-1, float32 [N, C, H, W] or [N, D] if continuous, not always in memory. label: int64 [N].
    index: int64 [N], the example's number in the whole set, which keys its evaluation noise: it depends neither on the
    split's length nor on the order of evaluation.
    """

    name: str
    x: Stored
    label: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.label) == len(self.index):
            raise ValueError(f"{self.name}: {len(self.x)} x, {len(self.label)} labels, {len(self.index)} indices")

    def __len__(self) -> int:
        return len(self.x)

    def head(self, count: int) -> Split:
        """The first `count` examples (all, if there are fewer)."""
        return Split(self.name, self.x[:count], self.label[:count], self.index[:count])

    @cached_property
    def sha256(self) -> str:
        """Of types, shapes and bytes of x, label and index: two runs with equal values are comparable on this split."""
        digest = hashlib.sha256()
        for column in (self.x, self.label, self.index):
            digest.update(f"{column.dtype} {tuple(column.shape)};".encode())
            for part in column.split(_floors.CHUNK):
                digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def spot_sha256(self) -> str:
        """Of at most 256 examples spread over the split: another data set shows at once, however large it is."""
        rows = torch.linspace(0, len(self) - 1, min(256, len(self)), dtype=torch.float64).round().long()
        return Split(self.name, self.x[rows], self.label[rows], self.index[rows]).sha256


@dataclass(frozen=True)
class Null:
    """The model without structure that the bound is reported over, K - L_null (Sohl-Dickstein et al. 2015, table 1).

    bits: its log likelihood L_null for each `per`, which is so many `values` of the data together, of the law itself and not
    of a split. deviation: of a density, the root mean square that its values are divided by, so that no figure depends on
    their units; None for a probability, which has none.
    """

    bits: float
    per: str
    values: int
    deviation: float | None


def white(per: str, values: int, deviation: float) -> Null:
    """N(0, deviation^2 I) for data of that deviation: -values log2(2 pi e) / 2 at unit variance."""
    return Null(-values * math.log2(2 * math.pi * math.e) / 2, per, values, deviation)


def check_limit(limit: int | None, available: int) -> None:
    """Raises ConfigError unless `limit` is None or in 1..available."""
    # The YAML's null shows no type that a typed value could be judged against, so it is judged here.
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= available):
        raise ConfigError(
            f"data.limit={limit!r} is no number of training examples: give 1..{available}, or null for all."
        )


def check_draw_seed(draw_seed: int) -> None:
    """Raises ConfigError unless numpy's RandomState takes it."""
    if not 0 <= draw_seed < 2**32:
        raise ConfigError(f"data.draw_seed={draw_seed!r} is no seed: give an integer from 0 to {2**32 - 1}.")


def draw_splits(
    sizes: dict[str, int], draw_seed: int, draw: Callable[[int, tuple[int, int]], tuple[Tensor, Tensor]]
) -> dict[str, Split]:
    """{name: that many draws}, each split from a stream of its own: draw(count, seed) -> (x, label) [count, ...].

    Raises ConfigError for a size or a seed out of range.
    """
    check_draw_seed(draw_seed)
    splits = {}
    # 2^29 apart: an example's index, and with it its noise, does not depend on how many others were drawn.
    for number, (name, size) in enumerate(sizes.items()):
        if not 1 <= size <= 2**29:
            raise ConfigError(f"data.{name}_size={size!r} is out of range: give an integer from 1 to {2**29}.")
        x, label = draw(size, (draw_seed, number))
        index = torch.arange(size) + number * 2**29
        splits[name] = Split(name, x.float() if x.is_floating_point() else x, label, index)
    return splits


def density_floors(train: Stored, test: Stored) -> dict[str, float]:
    """Nats/dim: "standard normal", "independent Gaussian", "Gaussian"; inf for one that has too few examples to fit."""
    return {
        "standard normal": _floors.standard_normal(test),
        "independent Gaussian": _floors.gaussian(train, test, diagonal=True),
        "Gaussian": _floors.gaussian(train, test),
    }


class Data(ABC):
    """A data set. Splits are independent of the run's `seed`; val and test are independent of `limit` too.

    classes: labels are 0..classes-1, whatever `limit` keeps; 1: they tell nothing.
    shape: (C, H, W) of a picture, (D,) of a vector: the data's own, never padded. levels: values are integers
    0..levels-1; None for continuous data. limit: training examples kept, None for all (debugging, overfitting). null: what
    the bound is also reported over, in bits; None where nobody does. example: what one is called where the literature quotes
    nats for each; None where it does not. metric: whether its values are magnitudes, so that a distance between two means
    something. Raises ConfigError if `limit` is not in 1..len(train).
    """

    null: Null | None = None
    example: str | None = None
    metric = True

    def __init__(
        self, shape: tuple[int, ...], levels: int | None, *, train: Split, val: Split, test: Split, limit: int | None
    ) -> None:
        check_limit(limit, len(train))
        self.classes = 1 + max(int(split.label.max()) for split in (train, val, test) if len(split))
        self.shape = shape
        self.levels = levels
        self.train = train.head(len(train) if limit is None else limit)
        self.val = val
        self.test = test

    @property
    @abstractmethod
    def source(self) -> str:
        """One sentence: where the values come from, and their licence or law."""

    @abstractmethod
    def floors(self) -> dict[str, float]:
        """What models without a network, fitted on `train`, reach on `test`: bits/dim (levels) or nats/dim."""

    @abstractmethod
    def show(self, x0: Tensor, path: Path, columns: int | None = None) -> Path:
        """Write samples x0 [N, ...], on the scale of `to_unit`, for a person to look at: `path` with the suffix of the set's
        own choice, `columns` of them beside each other where that means something. Returns the file."""

    @property
    def dims(self) -> int:
        """Number of the data's own values per example: the denominator of bits/dim."""
        return math.prod(self.shape)

    @cached_property
    def sha256(self) -> dict[str, str]:
        """{split name: Split.sha256}, what "comparable" checks."""
        return {split.name: split.sha256 for split in (self.train, self.val, self.test)}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What tells the data from another's: of each split, its length and a sha256 of some examples."""
        return {split.name: [len(split), split.spot_sha256] for split in (self.train, self.val, self.test)}

    def describe(self) -> str:
        """One line for a person: sizes, shape, levels."""
        sizes = " / ".join(f"{len(split):,} {split.name}" for split in (self.train, self.val, self.test))
        shape = " x ".join(map(str, self.shape))
        return f"{sizes}, {shape}, {'continuous' if self.levels is None else f'{self.levels} levels'}"

    def to_unit(self, x: Tensor) -> Tensor:
        """x0 float32 on x's device: levels spread over [-1, 1] with both ends exact; continuous values as they are."""
        if self.levels is None:
            return x.float()
        return x.float().mul(2).div(self.levels - 1).sub(1)

    def from_unit(self, x0: Tensor) -> Tensor:
        """uint8 0..levels-1: the level nearest to each value of x0, the inverse of `to_unit` on the grid."""
        if self.levels is None:
            raise ValueError("continuous data have no levels")
        return x0.float().add(1).mul((self.levels - 1) / 2).round().clamp(0, self.levels - 1).to(torch.uint8)

    def to_pixels(self, x0: Tensor) -> Tensor:
        """uint8 0..255 of x0 [..., C, H, W] on the scale of `to_unit`, clamped: to look at, not to count bits."""
        if len(self.shape) != 3:
            raise ValueError(f"data of shape {self.shape} have no pixels")
        return grey(x0)


def grey(x0: Tensor) -> Tensor:
    """uint8 0..255 of values on [-1, 1], clamped."""
    return x0.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


def save_grid(data: Data, x0: Tensor, path: Path, columns: int | None = None) -> Path:
    """Pictures in a grid, as a PNG: what Data.show is for pictures of any kind."""
    from ..figure.sample import sample_grid  # here, because figures read data

    return sample_grid(data.to_pixels(x0), path.with_name(f"{path.name}.png"), columns)


class Pictures(Data):
    """Data on a grid of levels."""

    levels: int

    def floors(self) -> dict[str, float]:
        """Bits/dim: "uniform", "per-pixel histogram", and "Gaussian" where that takes seconds."""
        floors = {
            "uniform": math.log2(self.levels),
            "per-pixel histogram": _floors.histogram(self.train.x, self.test.x, self.levels),
        }
        if self.dims <= _floors.MAX_DIMS:
            floors["Gaussian"] = _floors.gaussian(self.train.x, self.test.x, bin_width=1.0) / math.log(2)
        return floors

    def show(self, x0: Tensor, path: Path, columns: int | None = None) -> Path:
        """A grid, as a PNG."""
        return save_grid(self, x0, path, columns)


class Vectors(Data):
    """Draws from a density that is known, so that the smallest possible bound, the entropy, is known too."""

    def __init__(self, dims: int, sizes: dict[str, int], draw_seed: int, limit: int | None) -> None:
        """sizes: {"train": N, "val": N, "test": N}. draw_seed: of the draws, nothing to do with the run's `seed`."""
        splits = draw_splits(sizes, draw_seed, self.draw)
        self.null = white("point", dims, 1.0)  # of unit variance on average, each of them
        super().__init__((dims,), None, limit=limit, **splits)

    @abstractmethod
    def draw(self, count: int, seed: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(x float64 [count, D], label int64 [count]) by numpy's RandomState, whose streams are frozen (NEP 19)."""

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """log p(x), nats, float64 [N], of x [N, D]."""

    @abstractmethod
    def entropy_nats(self) -> tuple[float, float]:
        """(entropy of one example in nats, standard error of that figure; 0 where it is exact to 1e-6)."""

    @property
    def entropy(self) -> float:
        """Nats per example, of the density (not of the test split); divide by `dims` for the ledger's unit."""
        return self._entropy[0]

    @property
    def entropy_se(self) -> float:
        """Standard error of `entropy`, nats."""
        return self._entropy[1]

    def show(self, x0: Tensor, path: Path, columns: int | None = None) -> Path:
        """The first two coordinates beside the test split's, as a PNG."""
        from ..figure.sample import scatter

        return scatter(
            x0.numpy(), self.test.x[torch.arange(len(self.test))].numpy(), path.with_name(f"{path.name}.png")
        )

    @cached_property
    def _entropy(self) -> tuple[float, float]:
        return self.entropy_nats()

    def floors(self) -> dict[str, float]:
        """Nats/dim: "standard normal" (theory's L_null), "independent Gaussian", "Gaussian", "entropy".

        A Gaussian that `limit` leaves too few examples to fit is left out.
        """
        floors = density_floors(self.train.x, self.test.x) | {"entropy": self.entropy / self.dims}
        return {name: value for name, value in floors.items() if math.isfinite(value)}
