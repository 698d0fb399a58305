"""task=inspect from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from difflab.cli import main


def test_the_digits_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["task=inspect", "task.examples=200", f"hydra.run.dir={tmp_path}"]) == 0
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["data"] == "digits" and card["splits"]["test"]["examples"] == 360
    assert card["floors"]["per-pixel histogram"] == pytest.approx(2.4286, abs=1e-4)
    assert card["exact"]["test"]["in_train"]["count"] == 0
    text = (tmp_path / "card.md").read_text()
    assert all((tmp_path / name).is_file() for name in ("card.html", *_pictures(text)))
    assert "checks found nothing" in capsys.readouterr().out


def _pictures(text: str) -> list[str]:
    return [line.rpartition("(")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]


@pytest.mark.parametrize("name", ["gaussian", "gaussian_mixture", "swiss_roll"])
def test_a_card_of_vectors(name: str, tmp_path: Path) -> None:
    sizes = ["data.train_size=400", "data.val_size=60", "data.test_size=80"]
    assert main(["task=inspect", f"data={name}", *sizes, f"hydra.run.dir={tmp_path}"]) == 0
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["levels"] is None and "entropy" in card["floors"] and card["coverage"]["test"]["probes"] == 100


def test_a_folder_of_pictures_in_memory_and_in_files(tmp_path: Path) -> None:
    generator, cards = torch.Generator().manual_seed(0), []
    for i in range(40):
        x = torch.randint(0, 256, (8, 8, 3), generator=generator, dtype=torch.uint8).numpy()
        for split in ("train", *(("test",) if i < 4 else ())):  # four of the test pictures were trained on
            path = tmp_path / "data" / split / ("cat", "dog")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(x).save(path)
    for keep in ("true", "false"):
        out = tmp_path / keep
        folder = ["data=image_folder", f"data.root={tmp_path / 'data'}", "data.size=8", f"data.in_memory={keep}"]
        assert main(["task=inspect", *folder, "data.val_fraction=0.2", f"hydra.run.dir={out}"]) == 0
        cards.append(json.loads((out / "card.json").read_text()))
    assert cards[0] == cards[1]
    copies = cards[0]["exact"]["test"]
    assert copies["in_train"]["count"] + copies["in_val"]["count"] == 4


@pytest.mark.parametrize("keep", ["true", "false"])
def test_a_picture_that_cannot_be_read_is_one_sentence(
    keep: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val", "test"):
        for i in range(2):
            path = tmp_path / "data" / split / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (i, i, i)).save(path)
    bad = tmp_path / "data" / "test" / "1.png"
    bad.write_bytes(bad.read_bytes()[:40])
    folder = ["data=image_folder", f"data.root={tmp_path / 'data'}", "data.size=8", f"data.in_memory={keep}"]
    assert main(["task=inspect", *folder, f"hydra.run.dir={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(bad) in error and "cannot be read as a picture" in error and "repair or remove it" in error
    assert not (tmp_path / "out").exists()


def test_a_card_is_named_after_its_data_and_takes_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIFFLAB_RUNS", str(tmp_path))
    # a decoder that no model of this data could have: there is none
    assert main(["task=inspect", "decoder=gaussian", "task.examples=20"]) == 0
    assert [path.name.split("-")[3:-1] for path in tmp_path.glob("*/*")] == [["inspect", "digits"]]
    for line, words in (
        ("resume=auto", "would be ignored: task=inspect trains nothing"), ("task.near=300", "task.near=300"), ("task.nears=1", "task.near"),
        ("task.examples=abc", "task.examples=abc must be a whole number or null"),
    ):  # fmt: skip
        assert main(["task=inspect", line]) == 1
        assert words in capsys.readouterr().err
