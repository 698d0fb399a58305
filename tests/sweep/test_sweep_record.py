"""How long a sweep still takes, from what its jobs have taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from difflab.sweep.record import State, counted, left, state


def test_the_time_left_counts_what_comes_after_the_last_step() -> None:
    """Jobs of 100 s, 80 of them training: one that has trained to its end has 20 s before it, one not begun 100."""
    done = {"a": State("done", 1.0, 90.0, 75.0), "b": State("done", 1.0, 110.0, 85.0)}
    assert left(done | {"c": State("running", 1.0)}, 2) == pytest.approx(20)
    assert left(done | {"c": State("running", 0.5), "d": State("waiting")}, 2) == pytest.approx((60 + 100) / 2)
    assert left(done | {"c": State("waiting"), "d": State("waiting"), "e": State("stopped", 0.25)}, 1) == pytest.approx(
        280
    )
    assert left(done | {"c": State("failed", 0.5)}, 2) == 0
    assert left({"c": State("running", 0.5)}, 2) is None
    assert counted(done | {"c": State("waiting")}) == "2 done, 1 waiting"


def test_what_a_finished_job_took_stands_in_its_result(tmp_path: Path) -> None:
    figures = {"train_seconds": 8.0, "evaluate_seconds": 1.5, "validate_seconds": 0.5, "space_seconds": None}
    (tmp_path / "result.json").write_text(json.dumps(figures))
    assert state(tmp_path) == State("done", 1.0, 10.0, 8.0)
