"""Bits beside quality: which records stand together, and what a difference of distances has for an error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from difflab import tables
from difflab.card.blocks import Table
from difflab.compare.quality import blocks, difference, quality, quality_table
from difflab.figure.quality import tradeoff
from difflab.quality.frechet import frechet
from difflab.quality.record import save
from difflab.task import compare
from tests.compare.made_up import in_memory
from tests.compare.made_up import quality_record as record

NATS = np.abs(np.random.RandomState(0).randn(6, 4))


def run_at(directory: Path, name: str, *found: dict[str, Any], step: int = 6) -> Any:
    for number, one in enumerate(found):
        save(directory / name / "quality" / f"step_0000000{one['step']}-{number}", one)
    run = in_memory(NATS, name, step=step)
    object.__setattr__(run, "directory", directory / name)
    return run


def test_the_nearest_stands_first_and_the_others_differ_from_it(tmp_path: Path) -> None:
    runs = [run_at(tmp_path, "far", record(3.0)), run_at(tmp_path, "near", record(1.0)), run_at(tmp_path, "none")]
    found = quality(runs)
    assert [p.run.name for p in found.points] == ["near", "far"]
    assert found.points[0].difference is None
    assert found.points[1].difference is not None and float(found.points[1].difference.mean[0]) == 2.0
    assert found.left_out == {"none": "its quality was not measured"}
    table = next(block for block in blocks(found) if isinstance(block, Table))
    assert [row[0] for row in table.rows] == ["near", "far", "held-out examples"]
    columns = quality_table(found)
    assert columns["difference"].tolist() == [0.0, 2.0] and columns["bpd"][0] == pytest.approx(runs[0].bound)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"features_sha256": "b" * 64}, "another classifier is another distance"),
        ({"sampler": {"name": "ancestral"}}, "with another sampler"),
        ({"count": 60}, "with another task.count"),
    ],
)
def test_what_was_measured_otherwise_is_left_out_and_says_why(
    other: dict[str, Any], words: str, tmp_path: Path
) -> None:
    runs = [run_at(tmp_path, name, record(1.0)) for name in "ab"] + [run_at(tmp_path, "c", record(0.1, **other))]
    found = quality(runs)
    assert [p.run.name for p in found.points] == ["a", "b"] and words in found.left_out["c"]


def test_of_several_records_the_design_that_most_have_is_taken(tmp_path: Path) -> None:
    both = record(1.0), record(9.0, count=60)
    found = quality([run_at(tmp_path, "a", *both), run_at(tmp_path, "b", both[1]), run_at(tmp_path, "c", both[1])])
    assert [p.distance for p in found.points] == [9.0, 9.0, 9.0]


def test_one_run_or_other_weights_are_no_comparison(tmp_path: Path) -> None:
    assert not quality([run_at(tmp_path, "a", record(1.0)), run_at(tmp_path, "b")]).points
    later = [run_at(tmp_path, name, record(1.0), step=7) for name in "cd"]
    assert not quality(later).points and not blocks(quality(later)) and not quality_table(quality(later))
    assert tradeoff(quality(later).points, tmp_path / "x.png") is None and not (tmp_path / "x.png").exists()


def test_a_difference_has_no_error_of_what_both_share() -> None:
    """Two sets of samples against the same data: the error is that of repeated draws of all three."""

    def figures(mean: float, noise: torch.Tensor, data: torch.Tensor) -> dict[str, Any]:
        return {"key": "frechet_x"} | frechet(noise + mean, data, 8).flat("frechet_x", corrected=True)

    found, unpaired = [], []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        noise, data = torch.randn(150, 3, generator=generator), torch.randn(100, 3, generator=generator)
        a, b = figures(1.0, noise, data), figures(0.9, noise, data)
        found.append(difference(a, b))
        unpaired.append(math.hypot(a["frechet_x_se"], b["frechet_x_se"]))
    spread = np.std([float(gap.mean[0]) for gap in found], ddof=1)
    error = np.sqrt(np.mean([float(gap.se[0]) ** 2 for gap in found]))
    assert 0.5 < error / spread < 1.8 and error < 0.3 * np.mean(unpaired)


def test_the_figure_shows_many_runs_and_the_nearest_in_colour(tmp_path: Path) -> None:
    runs = [run_at(tmp_path, f"run {i} $x", record(float(i))) for i in range(10)]
    path = tradeoff(quality(runs).points, tmp_path / "figure.png")
    assert path is not None and path.stat().st_size > 10_000


def test_a_comparison_of_runs_tells_it(make_run: Any, tmp_path: Path) -> None:
    a, b = make_run("a", NATS), make_run("b", NATS + 0.1)
    for run, distance in ((a, 2.0), (b, 1.0)):
        step = json.loads((run / "result.json").read_text())["step"]
        save(run / "quality" / f"step_{step:08d}-x", record(distance) | {"step": step})
    text, out = compare.write(tmp_path), tmp_path
    assert "Bits against quality" in text and "held-out examples" in text
    assert tables.load(out / "comparison_quality.csv")["frechet_x_corrected"].tolist() == [1.0, 2.0]
    assert (out / "figures" / "comparison_quality.png").stat().st_size > 10_000
