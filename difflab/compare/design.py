"""Effects of factors by least squares over the cells that exist: which contrast is a sum of which cells, and how much of
the variation between cells each effect accounts for.

Coding is sum-to-zero: the effects of a factor's levels add up to 0, those of an interaction over either of its factors too,
so the intercept is the mean over levels, not over cells, and a grid with holes has the same question as a full one. Every
figure is linear in the cells' means, and its weights say so: whatever is known of the cells (each example's own values, the
spread of trainings) goes through them. What no combination of the cells answers has no weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np

from .factors import Factor

Term = tuple[int, ...]  # the factors of an effect: () the mean, (0,) a main effect, (0, 1) an interaction
TOLERANCE = 1e-8  # of a weight's equation, whose entries are 0, 1 and -1


@dataclass(frozen=True)
class Share:
    """What of the sum of squares between cells falls to an effect, [P]; df: how many of its degrees of freedom the cells
    answer, of how many it has."""

    term: Term
    squares: np.ndarray
    df: int
    df_full: int


@dataclass(frozen=True)
class Design:
    """Factors, and the level of each in each cell: int [C, K]."""

    factors: Sequence[Factor]
    cells: np.ndarray
    _models: dict[tuple[Term, ...], tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @cached_property
    def mains(self) -> list[Term]:
        return [(k,) for k in range(len(self.factors))]

    @cached_property
    def pairs(self) -> list[Term]:
        return list(combinations(range(len(self.factors)), 2))

    def mean(self, k: int, level: int) -> np.ndarray | None:
        """Weights [C] of the mean at a level of factor k, over all levels of the others."""
        return self._weights(self.mains, {(): np.ones(1), (k,): self._coding(k)[level]})

    def effect(self, k: int, level: int) -> np.ndarray | None:
        """Weights of what that level adds to the mean over levels."""
        return self._weights(self.mains, {(k,): self._coding(k)[level]})

    def difference(self, k: int, level: int, versus: int) -> np.ndarray | None:
        return self._weights(self.mains, {(k,): self._coding(k)[level] - self._coding(k)[versus]})

    def interaction(self, pair: Term, levels: Sequence[int]) -> np.ndarray | None:
        """Weights of what a pair of levels adds to what each of them does alone."""
        first, second = (self._coding(k)[level] for k, level in zip(pair, levels))
        return self._weights([*self.mains, *self.pairs], {pair: np.kron(first, second)})

    def shares(self, y: np.ndarray) -> tuple[list[Share], np.ndarray, np.ndarray]:
        """(type-II sums of squares, what no main effect and no interaction of two explains, the whole) of y [C, P].

        Main effects are adjusted for each other, interactions for all main effects and each other. In a full grid the three
        add up; elsewhere what two effects explain alike is nobody's.
        """
        found = []
        for own, below in ((self.mains, []), (self.pairs, self.mains)):
            full = [*below, *own]
            with_all, rank_all = self._left(full, y)
            for term in own:
                without, rank = self._left([other for other in full if other != term], y)
                df = math.prod(len(self.factors[k].levels) - 1 for k in term)
                squares = np.maximum(without - with_all, 0.0) if rank_all > rank else np.zeros(y.shape[1])
                found.append(Share(term, squares, rank_all - rank, df))
        return found, self._left([*self.mains, *self.pairs], y)[0], self._left([], y)[0]

    def _left(self, terms: Sequence[Term], y: np.ndarray) -> tuple[np.ndarray, int]:
        """(residual sum of squares [P], rank) of a model."""
        u, s, _ = np.linalg.svd(self._columns(terms), full_matrices=False)
        u = u[:, s > TOLERANCE * s[0]]
        centred = y - y.mean(0)  # every model has the mean; without it a large one would cost digits
        left = centred - u @ (u.T @ centred)
        return (left**2).sum(0), u.shape[1]

    def _weights(self, terms: Sequence[Term], wanted: dict[Term, np.ndarray]) -> np.ndarray | None:
        """The cells' weights [C] whose sum is that combination of coefficients; None if the cells do not determine it."""
        sizes = {term: math.prod(len(self.factors[k].levels) - 1 for k in term) for term in ((), *terms)}
        c = np.concatenate([wanted.get(term, np.zeros(size)) for term, size in sizes.items()])
        x, inverse = self._solved(tuple(terms))
        weights = c @ inverse
        return weights if np.allclose(weights @ x, c, atol=TOLERANCE * 10) else None

    def _solved(self, terms: tuple[Term, ...]) -> tuple[np.ndarray, np.ndarray]:
        """(columns, pseudoinverse) of a model, which many contrasts share."""
        if terms not in self._models:
            x = self._columns(terms)
            self._models[terms] = x, np.linalg.pinv(x, rcond=TOLERANCE)
        return self._models[terms]

    def _columns(self, terms: Sequence[Term]) -> np.ndarray:
        """[C, 1 + coefficients]: the mean, then each term's columns."""
        blocks = [np.ones((len(self.cells), 1))]
        for term in terms:
            block = np.ones((len(self.cells), 1))
            for k in term:
                own = self._coding(k)[self.cells[:, k]]
                block = (block[:, :, None] * own[:, None, :]).reshape(len(block), -1)
            blocks.append(block)
        return np.concatenate(blocks, 1)

    def _coding(self, k: int) -> np.ndarray:
        """[L, L - 1]: a row of numbers for each level, which add up to 0."""
        free = np.eye(len(self.factors[k].levels) - 1)
        return np.concatenate([free, -np.ones((1, len(free)))])
