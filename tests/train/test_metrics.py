"""metrics.jsonl: strict JSON, on disk at once, repaired and cut on resume."""

import json
import math
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from difflab.tracker.base import Curve
from difflab.train.metrics import MetricsFile, read


def test_a_row_is_strict_json_and_readable_at_once(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    with closing(MetricsFile(path)) as file:
        file.write(
            {
                "step": 1,
                "train/loss": math.nan,
                "train/lr": -math.inf,
                "val/bpd": np.float32(1.5),
                "train/grad_norm": torch.tensor(2.5),
                "sample/grid": Path("samples/a.png"),
                "bound/per_t": Curve(["t", "L_t"], [[2.0, math.nan]], "t", "L_t", "±"),
                "per": np.arange(3),
            }
        )
        rows = read(path)  # before the file is closed
    assert rows == [
        {
            "step": 1,
            "train/loss": None,
            "train/lr": None,
            "val/bpd": 1.5,
            "train/grad_norm": 2.5,
            "sample/grid": "samples/a.png",
            "bound/per_t": {"columns": ["t", "L_t"], "rows": [[2.0, None]], "x": "t", "y": "L_t", "title": "±"},
            "per": [0, 1, 2],
        }
    ]
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_row_needs_its_step(tmp_path):
    with closing(MetricsFile(tmp_path / "m.jsonl")) as file, pytest.raises(KeyError):
        file.write({"loss": 1.0})


def test_resume_drops_what_will_be_written_again(tmp_path):
    path = tmp_path / "m.jsonl"
    with closing(MetricsFile(path)) as file:
        for step in (1, 2, 3, 4):
            file.write({"step": step, "loss": 0.1 * step})
    with closing(MetricsFile(path, resume_at=2)) as file:
        file.write({"step": 3, "loss": 9.0})
    assert [(row["step"], row["loss"]) for row in read(path)] == [(1, 0.1), (2, 0.2), (3, 9.0)]
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


@pytest.mark.parametrize("torn", ['{"step": 2, "lo', '{"step": 2, "lo\n', "\0\0\0\0"])
def test_a_torn_last_line_is_repaired(tmp_path, torn):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n' + torn)
    assert [row["step"] for row in read(path)] == [1]
    with closing(MetricsFile(path)) as file:
        file.write({"step": 2, "loss": 0.25})
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'


def test_a_whole_row_without_its_newline_is_kept(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}')
    with closing(MetricsFile(path)) as file:
        file.write({"step": 2})
    assert [row["step"] for row in read(path)] == [1, 2]


def test_damage_elsewhere_is_named(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\nrubbish\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read(path)
