"""Planted copies are found and counted exactly, and nothing else is."""

from __future__ import annotations

import pytest
import torch

from difflab.card.copies import Digests, Turned, digests
from tests.card.conftest import draws, noise, planted


def counts(card: dict) -> dict[tuple[str, str], tuple[int, int]]:
    """{(of, in): (exact, near)}."""
    return {
        (row["of"], row["in"]): (
            card["exact"][row["of"]]["repeated" if row["of"] == row["in"] else f"in_{row['in']}"]["count"], row["count"],
        )
        for row in card["near"]
    }  # fmt: skip


def test_nothing_is_found_where_nothing_is_planted(inspect) -> None:
    for data in (
        planted(train=noise(300, 0), val=noise(50, 1), test=noise(80, 2)),
        planted(levels=None, train=draws(300, 0), val=draws(50, 1), test=draws(80, 2)),
    ):
        card = inspect(data).card
        assert set(counts(card).values()) == {(0, 0)} and len(counts(card)) == 6
        assert all(got["count"] == 0 for split in card["exact"].values() for got in split.values())


def test_planted_copies_are_counted_to_the_last(inspect) -> None:
    train, val, test = noise(300, 0), noise(50, 1), noise(80, 2)
    test[:12] = train[40:52]  # exact, across
    test[12:15] = val[:3]
    val[10] = val[11]  # exact, within: one repeats the other
    train[7] = train[8] = train[9]  # two repeat the third
    test[20:25] = (train[60:65].int() + torch.tensor([2, -2, 1]).repeat(12).view(1, 6, 6)).clamp(0, 255).to(torch.uint8)
    test[30] = (train[70].int() + 3).clamp(0, 255).to(torch.uint8)  # just too far
    val[30] = train[90]
    val[30, 0, 0, 0] ^= 1  # one value by one level
    card = inspect(planted(train=train, val=val, test=test)).card
    assert counts(card) == {
        ("train", "train"): (2, 0), ("val", "train"): (1 - 1, 1), ("test", "train"): (12, 5),
        ("val", "val"): (1, 0), ("test", "val"): (3, 0), ("test", "test"): (0, 0),
    }  # fmt: skip
    assert [row["within_twice"] for row in card["near"] if (row["of"], row["in"]) == ("test", "train")] == [6]
    first = card["exact"]["test"]["in_train"]["first"]
    assert first == [[350 + i, 40 + i] for i in range(12)]  # the data's own numbers


def test_copies_under_another_label_are_told(inspect) -> None:
    train, val, test = noise(30, 0), noise(5, 1), noise(8, 2)
    test[:4] = train[:4]
    labels = {"train": torch.arange(30) % 3, "val": torch.arange(5) % 3, "test": torch.tensor([0, 1, 0, 2, 0, 0, 0, 0])}
    got = inspect(planted(train=train, val=val, test=test, labels=labels)).card["exact"]["test"]["in_train"]
    assert (got["count"], got["relabelled"]) == (4, 2)


def test_copies_of_vectors_exact_and_near(inspect) -> None:
    train, val, test = draws(300, 0), draws(50, 1), draws(80, 2)
    test[:3] = train[:3]
    test[3:7] = train[3:7] * (1 + 1e-6)
    val[0] = torch.tensor([0.0, 1.0, 2.0])
    train[5] = torch.tensor([-0.0, 1.0, 2.0])
    card = inspect(planted(levels=None, train=train, val=val, test=test)).card
    assert counts(card)["test", "train"] == (3, 3)  # train[5] was replaced: of four, three are left
    assert counts(card)["val", "train"] == (1, 0)  # -0.0 is 0.0


@pytest.mark.parametrize("dims", [1, 2, 8])
def test_draws_of_a_density_are_no_near_copies_of_each_other(inspect, dims) -> None:
    found = 0
    for seed in range(40):
        data = planted(
            levels=None, **{n: draws(400, 3 * seed + i, dims) for i, n in enumerate(("train", "val", "test"))}
        )
        found += sum(row["count"] for row in inspect(data).card["near"])
    assert found <= 4  # about 0.01 to 0.06 are expected of each of the 40


def test_pictures_mirrored_or_shifted_are_found_and_plain_copies_not_twice(inspect) -> None:
    train, val, test = noise(60, 0), noise(20, 1), noise(40, 2)
    test[0], test[1], test[2] = train[0].flip(-1), train[1].roll((1, -1), (-2, -1)), train[2]
    test[3] = train[3].roll(2, -1)  # by two pixels: said not to be looked for
    train[4] = train[4].flip(-1).maximum(train[4])  # its own mirror picture
    test[4] = train[4]
    card = inspect(planted(train=train, val=val, test=test)).card
    assert card["exact"]["test"]["turned_in_train"]["count"] == 2
    assert card["exact"]["val"]["turned_in_train"]["count"] == 0


def test_digests_do_not_depend_on_the_chunks() -> None:
    x = noise(20, 0)
    x[13] = x[2]
    known = Digests(torch.zeros(20, dtype=torch.int64))
    for part in x.split(3):
        known.add(part)
    assert known.all == digests(x) and known.repeated().pairs == [(13, 2)]
    turned = Turned(known)
    for part in x.flip(-1).split(7):
        turned.add(part)
    assert turned.pairs == [(i, 2 if i == 13 else i) for i in range(20)]
