"""Runs of data that are no pictures: what they show of samples, and where the product shows it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from difflab.report.collect import collect
from difflab.task import inspect, train
from tests.task.test_measure import TINY
from tests.test_combinations import config_of

VECTORS = [line for line in TINY if not line.startswith("model.")] + ["sampler.steps=5"]


def test_a_heartbeat_is_counted_in_bits_a_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["data.train_size=64", "data.val_size=16", "data.test_size=16"]
    overrides = [*VECTORS, "data=heartbeat", *sizes, "model.width=16", "model.embedding=16"]
    result = train.run(config_of(overrides), tmp_path)
    gain, printed = result["information_gain"], capsys.readouterr().out
    assert gain["K"] == pytest.approx(-20 * result["bpd"]) and gain["K_se"] == pytest.approx(20 * result["bpd_se"])
    assert gain["K_minus_L_null"] == pytest.approx(gain["K"] + 14.439, abs=1e-3) and gain["per"] == "sequence"
    assert gain["ceiling"] == pytest.approx(-math.log2(5))
    assert (
        f"\nbits/sequence: K = {gain['K']:.4f} ± {gain['K_se']:.4f} (at most -2.3219, by the entropy), K - L" in printed
    )
    assert (tmp_path / "samples" / "final.png").read_bytes().startswith(b"\x89PNG")


def test_text_is_shown_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["model.width=16", "model.depth=1", "model.embedding=16", "data.limit=64", "sampler.count=3"]
    result = train.run(config_of([*VECTORS, "data=text", "data.length=12", *tiny]), tmp_path)
    assert set(result["floors"]) == {"uniform", "unigram", "bigram"} and "information_gain" not in result
    lines = (tmp_path / "samples" / "final.txt").read_text(encoding="utf-8").splitlines()
    assert [len(line) for line in lines] == [12] * 3
    assert f"samples {tmp_path / 'samples' / 'final.txt'}" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["sample/grid"] for row in rows if "sample/grid" in row] == ["samples/step_00000004.txt"]
    (run,) = collect([tmp_path], {tmp_path: "it"})["runs"]
    assert run["samples"][0] == {"step": None, "text": "\n".join(lines) + "\n"}
    assert [sample["step"] for sample in run["samples"]] == [None, 4]


@pytest.mark.parametrize("data", [["data=heartbeat", "data.train_size=64"], ["data=text", "data.limit=300"]])
def test_a_card_of_each(data: list[str], tmp_path: Path) -> None:
    inspect.run(config_of(["task=inspect", *data]) | {"choices": {"data": "it"}}, tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["levels"] in (2, 103) and card["floors"]["uniform"] == pytest.approx(math.log2(card["levels"]))
    assert (tmp_path / "card.html").exists()
