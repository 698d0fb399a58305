"""Comparisons are drawn for few and many runs, for chains of one length and of several, or not at all."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from difflab.compare.paired import differ
from difflab.compare.ranking import Entry
from difflab.compare.terms import Table
from difflab.figure.comparison import ROWS, SHOWN, forest, over_log_snr, over_t
from tests.compare.made_up import in_memory


class Known:
    def __init__(self, nats: np.ndarray) -> None:
        self.nats = nats

    def table(self, positions: np.ndarray) -> Table:
        return Table(self.nats[positions], np.ones_like(self.nats, bool)[positions], None)


def entries(
    lengths: list[int], n: int = 30, name: str = "model=a_long_name trainer.steps=100000 seed=${x} $y$"
) -> list[Entry]:
    """The best run and one for each of the `lengths` T."""
    rng = np.random.default_rng(0)
    best = rng.gamma(2.0, size=(n, lengths[0] + 1) if lengths else (n, 4))
    run = in_memory(best, name)
    found = [Entry(run, None)]
    for i, T in enumerate(lengths):
        nats = rng.gamma(2.0, size=(n, T + 1)) + 0.02 * i
        other = in_memory(nats, f"{name} {i}")
        found.append(Entry(other, differ(other, run, Known(nats), Known(best)), 0.01 if i % 2 else 0.9))
    return found


@pytest.mark.parametrize("draw", [forest, over_t, over_log_snr])
@pytest.mark.parametrize(
    ("lengths", "n"), [([6], 30), ([1], 30), ([2, 2], 1), ([300] * 3, 30), ([6] * (ROWS + 9), 5), ([9, 4, 20], 8)]
)  # fmt: skip
def test_comparisons_are_drawn(draw, lengths: list[int], n: int, tmp_path: Path) -> None:
    if draw is over_log_snr and lengths == [1]:  # one level of log SNR is no axis
        assert draw(entries(lengths, n), tmp_path / "a.png") is None
        return
    assert draw(entries(lengths, n), tmp_path / "a.png") == tmp_path / "a.png"
    assert matplotlib.image.imread(tmp_path / "a.png").std() > 0.01
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("draw", [forest, over_t, over_log_snr])
def test_nothing_to_compare_is_no_figure(draw, tmp_path: Path) -> None:
    assert draw(entries([]), tmp_path / "a.png") is None
    assert draw([], tmp_path / "a.png") is None
    assert not list(tmp_path.iterdir())


def test_chains_of_other_lengths_have_no_terms_in_common(tmp_path: Path) -> None:
    first, *others = entries([6, 4, 3])
    assert over_t([first, *others[1:]], tmp_path / "a.png") is None


def test_what_is_left_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts: list[str] = []
    for heading in ("head", "_heading"):
        monkeypatch.setattr(f"difflab.figure.comparison.{heading}", lambda where, title, text: facts.append(text))
    for draw in (forest, over_t, over_log_snr):
        draw(entries([6] * 40, n=5), tmp_path / "a.png")
        draw(entries([6], n=5), tmp_path / "a.png")
    assert [f"the {shown} nearest of 40 runs" in text for text, shown in zip(facts[::2], (ROWS, SHOWN, SHOWN))] == [
        True
    ] * 3
    assert not any("nearest" in text for text in facts[1::2])


def test_the_curves_are_the_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(axes, x, values, colour, label) -> None:
        drawn.append((x, values.mean))
        axes.plot(x, values.mean, label=label)

    monkeypatch.setattr("difflab.figure.comparison._curve", keep)
    found = entries([6])
    over_t(found, tmp_path / "a.png")
    pair = found[1].paired
    assert pair is not None and pair.per_step is not None
    x, y = drawn[0]
    assert x.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert y[-1] == pytest.approx(pair.sums.mean[0]) and y[0] == pytest.approx(pair.sums.mean[3])
    assert math.isclose(y[5], pair.sums.mean[2] + pair.sums.mean[3])
