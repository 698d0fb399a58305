"""task=advise, and the line of a training run's forecast."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from difflab import tables
from difflab.assemble import assemble
from difflab.bound.advice import price, spectrum
from difflab.build import build
from difflab.errors import ConfigError
from difflab.task import advise
from tests.test_combinations import config_of


@pytest.mark.parametrize(
    "overrides", [["schedule=cosine"], ["schedule=linear", "schedule.zero_terminal=true"], ["data=swiss_roll"]]
)
def test_the_table_the_file_and_the_answer_agree(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = config_of([*overrides, "task=advise", "schedule.T=77"])
    needed = advise.run(config, tmp_path)["T"]
    columns = tables.load(tmp_path / "advice.csv")
    printed = capsys.readouterr().out
    row = {T: i for i, T in enumerate(columns["T"].tolist())}
    assert {77, 1000, 10_000} <= set(row) and "77" in next(
        line for line in printed.splitlines() if "configured" in line
    )
    for variance, T in needed.items():
        gaps = columns[f"gap_{variance}"]
        if T is None:
            assert f"more than 100,000 with {variance}" in printed and gaps.min() > 0.01
        else:
            assert f"T = {T:,} with {variance}" in printed and gaps[row[T]] <= 0.01
    data = build("data", config["data"])
    assert needed["fixed_beta_tilde"] is None or not data.levels
    own = price(build("schedule", config["schedule"]), spectrum(data)).gap("optimal")
    nats = math.log(2) if data.levels else 1.0
    assert columns["gap_optimal"][row[77]] == pytest.approx(own / (data.dims * nats), rel=1e-9)


@pytest.mark.parametrize("gap", [0.0, -1.0])
def test_a_gap_that_is_none_is_refused(gap: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"task\.gap={gap}"):
        advise.run(config_of(["task=advise", f"task.gap={gap}"]), tmp_path)


def test_a_training_run_is_told_what_its_chain_costs() -> None:
    lab = assemble(config_of(["schedule=cosine", "schedule.T=100", "tracker=none"]))
    line = advise.chain_line(lab.data, lab.diffusion.schedule)
    assert line is not None and "100 steps" in line and "0.0584 bits/dim" in line


def test_nothing_is_said_of_data_that_a_gaussian_does_not_stand_for() -> None:
    lab = assemble(config_of(["data=swiss_roll", "tracker=none"]))
    assert advise.chain_line(lab.data, lab.diffusion.schedule) is None
