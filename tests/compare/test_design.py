"""Effects planted in made-up cells are found again exactly, whatever cells are missing; what cells do not say has no weights."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from difflab.compare.design import Design
from difflab.compare.factors import Factor

LEVELS = (2, 3, 4)


def grid(levels=LEVELS, keep=None) -> Design:
    cells = np.array([cell for cell in product(*map(range, levels)) if keep is None or keep(cell)])
    return Design([Factor(f"f{k}", tuple(f"l{i}" for i in range(n))) for k, n in enumerate(levels)], cells)


def planted(rng: np.random.Generator, levels=LEVELS) -> list[np.ndarray]:
    effects = [rng.normal(size=n) for n in levels]
    return [e - e.mean() for e in effects]


def additive(design: Design, effects: list[np.ndarray], mean: float = 5.0) -> np.ndarray:
    return mean + sum(e[design.cells[:, k]] for k, e in enumerate(effects))


@pytest.mark.parametrize("keep", [None, lambda c: sum(c) % 3 > 0, lambda c: sum(np.array(c) > 0) < 2])
def test_additive_effects_are_found_again_exactly(keep) -> None:
    rng, design = np.random.default_rng(0), grid(keep=keep)
    effects = planted(rng)
    y = additive(design, effects)
    for k, own in enumerate(effects):
        for i, value in enumerate(own):
            effect, mean, gap = design.effect(k, i), design.mean(k, i), design.difference(k, i, 0)
            assert effect is not None and mean is not None and gap is not None
            assert effect @ y == pytest.approx(value, abs=1e-12)
            assert mean @ y == pytest.approx(5.0 + value)
            assert gap @ y == pytest.approx(value - own[0], abs=1e-12)
            assert effect.sum() == pytest.approx(0, abs=1e-12)  # what all cells share is no effect


def test_an_interaction_is_found_again_and_leaves_the_main_effects_alone() -> None:
    rng, design = np.random.default_rng(1), grid()
    effects = planted(rng)
    both = rng.normal(size=(2, 3))
    both -= both.mean(0) + both.mean(1)[:, None] - both.mean()
    y = additive(design, effects) + both[design.cells[:, 0], design.cells[:, 1]]
    for i, j in product(range(2), range(3)):
        weights = design.interaction((0, 1), (i, j))
        assert weights is not None and weights @ y == pytest.approx(both[i, j], abs=1e-12)
    none = design.interaction((0, 2), (1, 2))
    assert none is not None and none @ y == pytest.approx(0, abs=1e-12)
    effect = design.effect(1, 2)
    assert effect is not None and effect @ y == pytest.approx(effects[1][2])


def test_shares_of_a_full_grid_are_its_variances_and_add_up() -> None:
    rng, design = np.random.default_rng(2), grid()
    effects = planted(rng)
    y = np.stack([additive(design, effects), 7.0 + 0 * additive(design, effects), rng.normal(size=24)], 1)
    shares, rest, total = design.shares(y)
    for share, own in zip(shares, effects):
        assert share.squares[0] == pytest.approx(24 * (own**2).mean())
        assert share.df == share.df_full == len(own) - 1
    assert sum(s.squares for s in shares) + rest == pytest.approx(total)
    assert total[1] == pytest.approx(0, abs=1e-20)
    assert rest[0] == pytest.approx(0, abs=1e-20) and rest[2] > 0.01  # three factors together


def test_shares_of_an_incomplete_grid_are_what_leaving_a_factor_out_costs() -> None:
    """With indicator columns and a general solver: another coding, another route."""
    rng, design = np.random.default_rng(3), grid(keep=lambda c: c != (0, 0, 0) and sum(c) != 4)
    y = rng.normal(size=(len(design.cells), 1))

    def left(*terms: tuple[int, ...]) -> float:
        columns = [np.ones(len(y))]
        for term in terms:
            for levels in product(*(range(LEVELS[k]) for k in term)):
                columns.append((design.cells[:, term] == levels).all(1).astype(float))
        x = np.stack(columns, 1)
        return float(((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum())

    shares, rest, total = design.shares(y)
    mains, pairs = [(0,), (1,), (2,)], [(0, 1), (0, 2), (1, 2)]
    for share in shares:
        own, below = (mains, []) if len(share.term) == 1 else (pairs, mains)
        without = left(*below, *(term for term in own if term != share.term))
        assert share.squares[0] == pytest.approx(without - left(*below, *own), abs=1e-9)
    assert rest[0] == pytest.approx(left(*mains, *pairs), abs=1e-9) and total[0] == pytest.approx(left())


def test_what_the_cells_do_not_say_has_no_weights() -> None:
    together = grid((2, 2, 2), keep=lambda c: c[0] == c[1])  # two factors that vary as one
    assert together.effect(0, 0) is None and together.difference(1, 1, 0) is None and together.mean(0, 0) is None
    third = together.effect(2, 0)
    assert third is not None and third == pytest.approx([0.25, -0.25, 0.25, -0.25])
    shares, _, _ = together.shares(np.arange(4.0)[:, None])
    assert [share.df for share in shares[:3]] == [0, 0, 1]
    assert shares[0].squares[0] == 0  # neither may claim it
    hole = grid((2, 2), keep=lambda c: c != (1, 1))
    assert hole.interaction((0, 1), (0, 0)) is None and hole.effect(0, 1) is not None
    part = grid((2, 3), keep=lambda c: c != (1, 2))
    assert [(s.df, s.df_full) for s in part.shares(np.zeros((5, 1)))[0]] == [(1, 1), (2, 2), (1, 2)]


def test_the_order_of_the_cells_is_nothing() -> None:
    rng, design = np.random.default_rng(4), grid(keep=lambda c: sum(c) != 3)
    order = rng.permutation(len(design.cells))
    other = Design(design.factors, design.cells[order])
    for made in (lambda d: d.effect(1, 2), lambda d: d.mean(2, 0), lambda d: d.interaction((0, 1), (1, 1))):
        assert made(other) == pytest.approx(made(design)[order])
