"""What moves which part is drawn for few and many factors, or not at all."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from difflab.compare.effects import Cells, View, estimated
from difflab.compare.factors import Factor
from difflab.compare.parts import Part, Parts
from difflab.figure.effects import effects


def view(levels: tuple[int, ...], seeds: int, scatter: float = 1.0) -> View:
    cells = list(product(*map(range, levels)))
    each = scatter * np.random.default_rng(0).normal(size=(len(cells) * seeds, 5, 3)) + 3
    parts = Parts(
        (Part("bound", "bound"), Part("L", "L_0 $x$"), Part("b", "log SNR", True)),
        np.zeros(0),
        np.arange(5),
        each.mean(1),
        each,
    )
    used = [Factor(f"a.very.long_name_of_a_key{k} $y$", tuple(map(str, range(n)))) for k, n in enumerate(levels)]
    runs = [[seeds * c + s for s in range(seeds)] for c in range(len(cells))]
    return estimated("all cells", parts, Cells([f"{c}" for c in cells], np.array(cells), runs), used, [])


@pytest.mark.parametrize(("levels", "seeds"), [((2,), 1), ((2, 2), 2), ((2, 2, 2, 2, 2), 1), ((12,), 1)])
def test_effects_are_drawn(levels: tuple[int, ...], seeds: int, tmp_path: Path) -> None:
    assert effects([view(levels, seeds)], tmp_path / "a.png", "bits/dim") == tmp_path / "a.png"
    assert matplotlib.image.imread(tmp_path / "a.png").std() > 0.01
    assert effects([], tmp_path / "b.png", "bits/dim") is None and not (tmp_path / "b.png").exists()


@pytest.mark.filterwarnings("error")
def test_cells_that_do_not_differ_are_drawn_without_a_legend(tmp_path: Path) -> None:
    assert effects([view((2,), 1, scatter=0.0)], tmp_path / "a.png", "bits/dim") == tmp_path / "a.png"
