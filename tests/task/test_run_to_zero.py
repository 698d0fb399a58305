"""A run whose chain ends in pure noise, through every task: log SNR = -inf is in no JSON and spoils no figure."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from difflab import tables
from difflab.task import evaluate, report, sample, train
from tests.task.test_tasks import TINY, record
from tests.test_combinations import config_of


def strict(text: str) -> object:
    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_whole_run(tmp_path: Path) -> None:
    chain = [*TINY, "schedule.zero_terminal=true", "chains.verify=[4]"]
    record(tmp_path / "run", chain)
    result = train.run(config_of(chain), tmp_path / "run")
    assert result["prior_kl"] == 0 == result["prior_kl_se"] and math.isfinite(result["bpd"])
    again = evaluate.run(config_of([*chain, "task=evaluate", f"run={tmp_path / 'run'}", "bound=importance", "bound.pilot_examples=4", "bound.pilot_times=4"]), tmp_path / "e")  # fmt: skip
    assert again["prior_kl"] == 0 and math.isfinite(again["bpd"])
    optimal = [
        *chain,
        "task=sample",
        f"run={tmp_path / 'run'}",
        "sampler=ddim",
        "sampler.steps=optimal:3",
        "sampler.count=2",
    ]
    sample.run(config_of(optimal), tmp_path / "s")
    report.run(config_of([*TINY, "task=report", f"runs=[{tmp_path / 'run'}]"]), tmp_path / "r")
    assert (tmp_path / "r" / "report.html").stat().st_size > 10_000
    for path in tmp_path.rglob("*.json*"):
        for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            strict(text)
    columns = tables.load(tmp_path / "run" / "bound" / "step_00000006.csv")
    assert columns["log_snr_t"][-1] == -math.inf and columns["bpd"].sum() == pytest.approx(result["bpd"], rel=1e-6)
    for path in (tmp_path / "run" / "bound").glob("*.csv"):
        for name, values in tables.load(path).items():
            if values.dtype.kind == "f" and not name.startswith("log_snr"):
                assert not any(math.isinf(value) for value in values), f"{path.name}: {name}"
