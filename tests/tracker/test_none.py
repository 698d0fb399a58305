"""No tracker does nothing, but keeps the id of a run that had one."""

from pathlib import Path

from difflab.tracker.base import RunInfo
from difflab.tracker.none import NoTracker


def test_nothing_is_written_and_the_id_survives(tmp_path):
    run = NoTracker()
    assert run.id is None
    run.start(tmp_path, {"a": 1}, RunInfo("a", id="abc"))
    run.log(1, {"train/loss": 1.0}, {"sample/grid": Path("none.png")}, {})
    run.summary({"objective": 1.0})
    run.artifact(tmp_path, "checkpoint")
    run.finish()
    assert run.id == "abc" and not list(tmp_path.iterdir())
