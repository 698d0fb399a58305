"""Precision, recall, density and coverage against their definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from difflab.quality.manifold import NAMES, manifold


def points(n: int, seed: int, shift: float = 0.0, dims: int = 3) -> Tensor:
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed)) + shift


def values(samples: Tensor, data: Tensor, k: int = 3, groups: int = 4) -> dict[str, float]:
    return {name: estimate.value for name, estimate in manifold(samples, data, k, groups).items()}


def written_out(samples: Tensor, data: Tensor, k: int) -> dict[str, float]:
    x, y = samples.double().numpy(), data.double().numpy()

    def far(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))

    def reach(a: np.ndarray) -> np.ndarray:
        return np.sort(far(a, a), axis=1)[:, k]  # the first is the point itself

    between = far(x, y)
    return {
        "precision": (between <= reach(y)[None]).any(1).mean(),
        "recall": (between <= reach(x)[:, None]).any(0).mean(),
        "density": (between <= reach(y)[None]).sum() / (k * len(x)),
        "coverage": (between.min(0) <= reach(y)).mean(),
    }


def test_they_are_what_is_written_out_and_so_without_each_group() -> None:
    x, y = points(42, 0, 0.4), points(42, 1)
    found = manifold(x, y, 3, 4)
    assert {name: found[name].value for name in NAMES} == pytest.approx(written_out(x, y, 3))
    for g in range(4):
        rest = torch.arange(42) % 4 != g
        assert {name: found[name].without[g] for name in NAMES} == pytest.approx(written_out(x[rest], y[rest], 3))


def test_identical_sets_have_all_and_far_ones_nothing() -> None:
    x = points(50, 0)
    same, far = values(x, x), values(x + 100, x)
    assert [same[name] for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert list(far.values()) == [0, 0, 0, 0]


def test_a_dropped_mode_costs_recall_and_coverage_and_no_precision() -> None:
    both = torch.cat([points(60, 0), points(60, 1, 20.0)])[
        torch.randperm(120, generator=torch.Generator().manual_seed(0))
    ]
    one, two = points(120, 2), torch.cat([points(60, 3), points(60, 4, 20.0)])
    dropped, kept = values(one, both), values(two, both)
    assert dropped["precision"] == pytest.approx(kept["precision"], abs=0.05)
    assert dropped["recall"] < 0.6 * kept["recall"] and dropped["coverage"] < 0.6 * kept["coverage"]


def test_samples_that_are_nowhere_near_cost_precision_and_no_recall() -> None:
    data = points(120, 0)
    half = torch.cat([points(120, 1)[::2], points(60, 2, 50.0)])
    found, good = values(half, data), values(points(120, 1), data)
    assert found["precision"] == pytest.approx(0.5 * good["precision"], abs=0.05)
    assert found["recall"] > 0.9 * good["recall"]


def test_density_of_one_law_is_one_on_average() -> None:
    found = [values(points(80, i), points(80, 100 + i))["density"] for i in range(20)]
    assert np.mean(found) == pytest.approx(1, abs=4 * np.std(found) / np.sqrt(20))


def test_blocks_and_the_order_of_points_change_nothing() -> None:
    x, y = points(42, 0, 0.4), points(42, 1)
    whole, done = manifold(x, y, 3, 4), []
    assert manifold(x, y, 3, 4, chunk=5, on_batch=lambda d, n: done.append((d, n))) == whole
    assert done == [(i + 1, 36) for i in range(36)]
    assert values(x.flip(0), y.roll(5, 0)) == {name: whole[name].value for name in NAMES}


def test_errors_are_those_of_repeated_draws() -> None:
    found = [manifold(points(90, i, 0.3), points(90, 500 + i), 5, 10) for i in range(30)]
    for name in NAMES:
        spread = np.std([one[name].value for one in found], ddof=1)
        assert 0.5 < np.sqrt(np.mean([one[name].se ** 2 for one in found])) / spread < 1.8, name


def test_sets_of_another_size_or_too_few_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="same number"):
        manifold(points(20, 0), points(21, 1), 3, 4)
    with pytest.raises(ValueError, match="fewer than k=5"):
        manifold(points(10, 0), points(10, 1), 5, 4)
