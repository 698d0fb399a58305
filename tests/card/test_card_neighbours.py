"""The nearest neighbour and its distance are those of brute force, in whole numbers."""

from __future__ import annotations

import pytest
import torch

from difflab.card import neighbours
from difflab.card.neighbours import nearest
from tests.card.conftest import draws, noise


def brute(queries: torch.Tensor, own: torch.Tensor, reference: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    squared = (queries.flatten(1).double()[:, None] - reference[rows].flatten(1).double()).square().sum(2)
    squared[own[:, None] == rows] = torch.inf
    return squared.min(1).values


@pytest.mark.parametrize("kind", ["grey", "alike", "vectors", "far"])
def test_as_brute_force(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TILE", 7)
    monkeypatch.setattr(neighbours, "ROWS", 13)
    x = {
        "grey": noise(90, 0), "alike": noise(90, 0) // 64 + 150, "vectors": draws(90, 0), "far": draws(90, 0) * 1e-3 + 1e3
    }[kind]  # fmt: skip
    rows = torch.arange(0, 90, 2)
    own = torch.cat([torch.arange(40), torch.full((50,), -1)])
    got = nearest(x, own, x, rows)
    torch.testing.assert_close(got.squared, brute(x, own, x, rows), rtol=1e-12 if x.is_floating_point() else 0, atol=0)
    assert not (got.place == own)[own >= 0].any() and (got.place % 2 == 0).all()


def test_what_float32_cannot_tell_is_searched_again() -> None:
    """Black and white pictures of 128 x 128: products near 2.6e8, of which float32 keeps steps of 16, and neighbours whose
    squared distances are 1 and 5."""
    base = torch.zeros(1, 1, 128, 128, dtype=torch.uint8)
    base[..., ::2] = 255
    reference = torch.cat([base.repeat(200, 1, 1, 1), 255 - base.repeat(200, 1, 1, 1)])
    for i in range(200):  # each differs in three values by one level
        reference[i].view(-1)[[3 * i + 1, 3 * i + 1201, 3 * i + 2401]] ^= 1
    queries = reference[:100].clone()
    queries.view(100, -1)[torch.arange(100), 3 * torch.arange(100) + 1] ^= (
        1  # two from the others' base, one from its own
    )
    got = nearest(queries, torch.full((100,), -1), reference, torch.arange(400), sure=1.0)
    assert (got.squared == 1).all() and (got.place == torch.arange(100)).all()


def test_nothing_to_be_near_to() -> None:
    x = noise(1, 0)
    for rows in (torch.arange(1), torch.arange(0)):
        got = nearest(x, torch.zeros(1, dtype=torch.int64), x, rows)
        assert got.squared.isinf().all() and (got.place == -1).all()
