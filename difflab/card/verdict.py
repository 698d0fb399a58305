"""What was found, in sentences with their numbers, and what was not looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ALPHA = 0.01  # false alarms over all tests of a card together (Bonferroni): a card is read for every data set
HELD = ("val", "test")

WHY = (
    "A bound on held-out examples estimates a likelihood only if they were not trained on, and if they and the training examples "
    "are independent draws of one law. A copy in the training split counts as held out although it was learned; a shift makes "
    "held-out bits those of other data. This card checks what can be checked without a model."
)


def verdict(card: dict[str, Any]) -> dict[str, list[str]]:
    """{"found": what speaks against the splits, "fine": what was checked without a finding, "not_checked": the rest}."""
    found, fine = list[str](), list[str]()
    for bad, text in _checks(card):
        (found if bad else fine).append(text)
    return {"found": found, "fine": fine, "not_checked": list(_not_checked(card))}


def _checks(card: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    sizes = {key: split["examples"] for key, split in card["splits"].items()}
    for key, other in (("val", "train"), ("test", "train"), ("test", "val")):
        copies = card["exact"][key][f"in_{other}"]
        yield (
            bool(copies["count"]),
            (
                f"{_many(copies['count'], sizes[key])} {key} examples {_are(copies['count'], 'an exact copy', 'exact copies')} of {_among(key, other, copies['count'])}"
                f"{_relabelled(copies)} (all were compared)."
            ),
        )
    for key, size in sizes.items():
        copies = card["exact"][key]["repeated"]
        yield (
            bool(copies["count"]),
            (
                f"{_many(copies['count'], size)} {key} examples {'repeats' if copies['count'] == 1 else 'repeat'} an earlier one of "
                f"the split exactly{_relabelled(copies)} (all were compared)."
            ),
        )
    for key in HELD:
        if turned := card["exact"][key].get("turned_in_train"):
            yield (
                bool(turned["count"]),
                (
                    f"{_many(turned['count'], sizes[key])} {key} pictures {_are(turned['count'], 'in', 'in')} the training split once mirrored "
                    "or shifted by a pixel, and not as they are (exact comparison, all)."
                ),
            )
    search = card["search"]
    for row in card["near"]:
        yield (
            bool(row["count"]),
            (
                f"{_many(row['count'], row['searched'])} {row['of']} examples {_are(row['count'], 'a near, not exact, copy', 'near, not exact, copies')} of "
                f"{_among(row['of'], row['in'], row['count'])}: at most {search['near']:.3g} {card['unit']} apart"
                f"{_part(row)}."
            ),
        )
    if card["levels"] and search["usual"] is not None and search["near"] > search["usual"] / 2:
        yield (
            True,
            (
                f"task.near={search['near']:g} is more than half of the usual distance between neighbours ({search['usual']:.3g}): near "
                "copies say little here; lower it."
            ),
        )
    level = ALPHA / max(1, tests(card))
    for key, got in card["coverage"].items():
        differs = got["p"] < level
        where, cause = _side(got)
        what = (
            f"{key} examples lie {where} the training data than training examples do: {cause}"
            if differs
            else f"{key} examples lie as far from the training data as training examples do"
        )
        yield (
            differs,
            (
                f"{what}. Paired with each of {got['probes']:,} training examples that were taken out, a {key} example ({got['examples']:,}) is "
                f"the nearer to those left in {got['share_nearer']:.1%} [{got['share_nearer_low']:.1%}, {got['share_nearer_high']:.1%}] of "
                f"the pairs (50% expected); medians {got['median']:.4g} and {got['probe_median']:.4g} {card['unit']}; Kolmogorov-Smirnov {got['ks']:.3f}, p = {got['p']:.2g}."
            ),
        )
    if not card["coverage"]:
        yield (
            True,
            "With one training example there are no distances between training examples: coverage was not compared.",
        )
    for key, got in card["balance"].items():
        differs = got["p"] < level
        pooled = f"; {got['pooled']} rare classes counted as one" if got["pooled"] else ""
        yield (
            differs,
            (
                f"Training and {key} split {'do not hold' if differs else 'hold'} the classes in the same proportions (chi-squared "
                f"{got['chi2']:.1f} on {got['df']} degrees of freedom, p = {got['p']:.2g}{pooled})."
            ),
        )


def _not_checked(card: dict[str, Any]) -> Iterator[str]:
    search = card["search"]["examples"]
    fewer = [
        f"{search[key]:,} of {split['examples']:,} {key}"
        for key, split in card["splits"].items()
        if search[key] < split["examples"]
    ]
    if fewer:
        yield f"Near copies and distances of the other examples: {', '.join(fewer)} examples were drawn and searched (task.examples)."
    if len(card["shape"]) == 3:
        yield "Copies that are rotated, cropped, scaled, recoloured, mirrored and changed, or shifted by more than a pixel."
    else:
        yield "Copies that are rotated, scaled or noisier than the threshold."
    yield (
        "Independence that no distance shows (one writer, patient, camera or day on both sides, one source of all examples), and "
        "whether the whole set represents what it is taken for."
    )
    yield "A shift inside what the training data covers, such as other proportions of the same kinds: distances hardly see it."
    yield "Whether labels are right."
    if not card["balance"]:
        yield "Class proportions: there is one class."
    if "variance_along" not in card["spectrum"]:
        yield f"The covariance: {card['dims']:,} values are too many."


def _side(got: dict[str, Any]) -> tuple[str, str]:
    """(where the held-out examples lie, what that may come from)."""
    if got["share_nearer_low"] > 0.5:
        return "nearer to", "copies or near relatives of training examples, or a narrower choice of them"
    if got["share_nearer_high"] < 0.5:
        return "farther from", "a shift, or training examples that are related to each other and not to these"
    return "otherwise spread around", "a mixture of nearer and farther ones"


def tests(card: Mapping[str, Any]) -> int:
    """How many p-values a card has."""
    return len(card["coverage"]) + len(card["balance"])


def _many(count: int, of: int) -> str:
    return f"{count:,} of {of:,}" if count else f"None of {of:,}"


def _are(count: int, one: str = "", many: str = "") -> str:
    return f"is {one}" if count == 1 else f"are {many}"


def _among(key: str, other: str, count: int) -> str:
    name = "training" if other == "train" else other
    if count == 1:
        return f"{'another' if key == other else 'a'} {name} example"
    return f"{'other ' if key == other else ''}{name} examples"


def _relabelled(copies: dict[str, Any]) -> str:
    return f", {copies['relabelled']:,} of them under another label" if copies["relabelled"] else ""


def _part(row: dict[str, Any]) -> str:
    drawn = f", {row['searched']:,} of {row['available']:,} searched" if row["searched"] < row["available"] else ""
    smallest = "" if row["smallest"] is None else f"; the nearest pair is {row['smallest']:.3g} apart"
    return drawn + smallest
