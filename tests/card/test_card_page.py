"""The card as a reader gets it: sentences with their numbers, Markdown and HTML in which nothing of the data is markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from difflab.card.blocks import Bullets, Heading, Picture, Table, Text, html, markdown
from difflab.card.page import blocks
from difflab.card.verdict import verdict
from difflab.errors import ConfigError
from difflab.figure.card import draw_all
from tests.card.conftest import draws, noise, planted


def test_findings_are_sentences_with_numbers(inspect) -> None:
    train, val, test = noise(300, 0), noise(50, 1), noise(80, 2)
    test[:12], val[0] = train[40:52], train[0]
    labels = {"train": torch.arange(300) % 2, "val": torch.arange(50) % 2, "test": torch.zeros(80, dtype=torch.int64)}
    card = inspect(planted(train=train, val=val, test=test, labels=labels), examples=100).card
    said = verdict(card)
    found = " ".join(said["found"])
    assert "12 of 80 test examples are exact copies of training examples, 6 of them under another label" in found
    assert "1 of 50 val examples is an exact copy of a training example" in found
    assert "Training and test split do not hold the classes in the same proportions" in found
    assert any(text.startswith("None of 80 test examples are exact copies of val examples") for text in said["fine"])
    assert any("100 of 300 train examples were drawn" in text for text in said["not_checked"])


def test_no_finding_where_there_is_none(inspect) -> None:
    alarms = 0
    for seed in range(60):
        x = draws(500, seed)
        labels = {"train": torch.arange(300) % 3, "val": torch.arange(80) % 3, "test": torch.arange(120) % 3}
        alarms += bool(
            verdict(inspect(planted(levels=None, labels=labels, train=x[:300], val=x[300:380], test=x[380:])).card)[
                "found"
            ]
        )
    assert alarms <= 3  # one in a hundred by chance


@pytest.mark.parametrize("kind", ["pictures", "colours", "vectors", "one"])
def test_every_kind_of_data_gets_a_whole_card(inspect, kind: str, tmp_path: Path) -> None:
    data = {
        "pictures": lambda: planted(train=noise(30, 0), val=noise(5, 1), test=noise(6, 2)),
        "colours": lambda: planted(train=noise(30, 0, (3, 5, 5)), val=noise(5, 1, (3, 5, 5)), test=noise(6, 2, (3, 5, 5))),
        "vectors": lambda: planted(levels=None, train=draws(30, 0), val=draws(5, 1), test=draws(6, 2)),
        "one": lambda: planted(train=noise(1, 0), val=noise(1, 0), test=noise(1, 2)),  # one example, val is its copy
    }[kind]()  # fmt: skip
    material = inspect(data)
    card = material.card
    card["verdict"] = verdict(card)
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    drawn = draw_all(material, tmp_path / "figures")
    assert {"examples", "moments", "principal"} <= set(drawn) and all(path.is_file() for path in drawn.values())
    page = blocks(card, {key: path.relative_to(tmp_path).as_posix() for key, path in drawn.items()})
    text, web = markdown(page), html(page, "planted", tmp_path)
    for of in text, web:
        assert "Made &lt;up" in of and "<up" not in of
        assert all(len(sentence) > 20 for kind in card["verdict"].values() for sentence in kind)
    assert web.count("data:image/png;base64,") == len(drawn) and "script-src 'none'" in web and "<script" not in web
    assert "http" not in web.replace("http-equiv", "")
    if kind == "one":
        assert card["coverage"] == {} and card["search"]["usual"] is None
        assert any("1 of 1 val examples is an exact copy" in text for text in card["verdict"]["found"])
        assert any("With one training example" in text for text in card["verdict"]["found"])


def test_one_dimension(inspect, tmp_path: Path) -> None:
    material = inspect(planted(levels=None, train=draws(30, 0, 1), val=draws(5, 1, 1), test=draws(6, 2, 1)))
    material.card["verdict"] = verdict(material.card)
    assert "examples" not in draw_all(material, tmp_path)


@pytest.mark.parametrize(
    "near, examples, key", [(-1.0, None, "task.near=-1"), (256.0, None, "task.near"), (2.0, 0, "task.examples=0")]
)
def test_values_out_of_range_are_refused(inspect, near, examples, key) -> None:
    with pytest.raises(ConfigError, match=key):
        inspect(planted(train=noise(3, 0), val=noise(1, 1), test=noise(1, 2)), near, examples)


def test_values_that_are_not_finite_are_refused(inspect) -> None:
    test = draws(4, 2)
    test[1, 1] = torch.nan
    with pytest.raises(ConfigError, match="the test split of the data holds 1 values that are not finite"):
        inspect(planted(levels=None, train=draws(9, 0), val=draws(3, 1), test=test))


def test_what_is_drawn_for_the_search_does_not_depend_on_the_seed_and_costs_what_was_asked(inspect) -> None:
    data = planted(train=noise(300, 0), val=noise(50, 1), test=noise(80, 2))
    torch.manual_seed(0)
    first = inspect(data, examples=40).card
    torch.manual_seed(1)
    assert inspect(data, examples=40).card == first
    assert first["search"]["examples"] == {"train": 40, "val": 40, "test": 40}


def test_markup_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    page = [
        Heading("<h>"), Text("a <b>\nc, 1<t<=10 < 11"), Bullets(["<i>"]), Table(["x|y"], [["<td>"]]), Picture("a.png", '"><script>')
    ]  # fmt: skip
    text, web = markdown(page), html(page, "<title>", tmp_path)
    assert "x\\|y" in text and "a &lt;b> c, 1<t<=10 < 11" in text and "<td>" not in text
    body = web.partition("<main>")[2]
    assert "<script" not in body and "<b>" not in body and "&lt;td&gt;" in body and "<i>" not in body
