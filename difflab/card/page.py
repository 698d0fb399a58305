"""The card as blocks: verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import verdict as v
from .blocks import Block, Bullets, Heading, Picture, Table, Text

CAPTIONS = {
    "examples": "Training examples.",
    "pairs": "The nearest pairs of a held-out example (left) and a training example (right).",
    "moments": "Mean and standard deviation of every value, and each held-out mean less that of training.",
    "levels": "How often each grey level occurs.",
    "power": "Power spectrum about the mean picture, averaged over rings; below, each split over training.",
    "principal": "Variance along the training set's principal directions, on which all splits are measured alike.",
    "coverage": "Distances to the nearest of the training examples that were left in: held-out examples and training examples taken out.",
    "classes": "Share of each class.",
}


def blocks(card: Mapping[str, Any], figures: Mapping[str, str]) -> list[Block]:
    """`figures`: {name: path relative to the page} of those that were drawn."""

    def picture(name: str) -> list[Block]:
        return [Picture(figures[name], CAPTIONS[name])] if name in figures else []

    said = card["verdict"]
    return [
        Heading(f"Data card: {card['data']}", 1),
        Text(card["source"]),
        Text(v.WHY),
        Heading("Verdict"),
        Text(
            f"{len(said['found'])} of {len(said['found']) + len(said['fine'])} checks found something. Tests are judged at "
            f"{v.ALPHA:.0%} over all {v.tests(card)} of this card together."
        ),
        *([Heading("Found", 3), Bullets(said["found"])] if said["found"] else []),
        *([Heading("Checked, nothing found", 3), Bullets(said["fine"])] if said["fine"] else []),
        Heading("Not checked", 3),
        Bullets(said["not_checked"]),
        Heading("Size and shape"),
        *_sizes(card),
        *picture("examples"),
        Heading("Floors"),
        Text("Code lengths on the test split of models without a network, fitted on the training split; above the lowest, nothing was learned."),
        Table(["floor", "bits/dim" if card["levels"] else "nats/dim"], [[k, f"{x:.4f}"] for k, x in card["floors"].items()]),
        Heading("Copies"),
        *_copies(card),
        *picture("pairs"),
        Heading("Nearest-neighbour coverage"),
        *_coverage(card),
        *picture("coverage"),
        *_per_class(card),
        Heading("Classes"),
        *_classes(card),
        *picture("classes"),
        Heading("Distribution"),
        *_distribution(card),
        *picture("moments"),
        *picture("levels"),
        *picture("power"),
        *picture("principal"),
    ]  # fmt: skip


def _sizes(card: Mapping[str, Any]) -> list[Block]:
    shape = " x ".join(map(str, card["shape"]))
    rows = [[key, f"{split['examples']:,}", split["sha256"][:16]] for key, split in card["splits"].items()]
    levels = f"{card['levels']} levels" if card["levels"] else "continuous"
    return [
        Text(f"{shape} = {card['dims']:,} values, {levels}."),
        Table(["split", "examples", "sha256, first digits"], rows),
    ]


def _copies(card: Mapping[str, Any]) -> list[Block]:
    search, levels = card["search"], card["levels"]
    near = f"root mean square over the values at most {search['near']:.3g} {card['unit']}"
    usual = "unknown" if search["usual"] is None else f"{search['usual']:.3g}"
    chosen = (
        "task.near, about what rounding and mild recompression do to a picture"
        if levels
        else "at most a tenth of the usual one, less in few dimensions, so that chance gives about 0.01 such pairs"
    )
    rows = []
    for row in card["near"]:
        copies = card["exact"][row["of"]]["repeated" if row["of"] == row["in"] else f"in_{row['in']}"]
        rows.append([
            row["of"], row["in"], f"{copies['count']:,} of {row['available']:,}", f"{copies['relabelled']:,}",
            f"{row['count']:,} of {row['searched']:,}",
            f"{row['within_twice']:,}", f"{row['within_four_times']:,}", "" if row["smallest"] is None else f"{row['smallest']:.4g}",
        ])  # fmt: skip
    return [
        Text(
            f"Exact: all values equal; within a split, an example that repeats an earlier one. Near: not exact, and the {near} from its "
            f"nearest neighbour ({chosen}); the usual distance between neighbours is {usual}, the median of training examples."
        ),
        Table(
            [
                "of",
                "in",
                "exact copies",
                "with another label",
                "near copies",
                "within twice that",
                "four times",
                "smallest distance",
            ],
            rows,
        ),
    ]


def _coverage(card: Mapping[str, Any]) -> list[Block]:
    if not card["coverage"]:
        return [Text("Not defined: there is one training example.")]
    rows = [
        [
            key, f"{got['examples']:,}", f"{got['median']:.4g}", f"{got['probe_median']:.4g}", _share(got),
            f"{got['ks']:.3f}", f"{got['p']:.2g}", f"{got['same_label']:.1%}",
        ]
        for key, got in card["coverage"].items()
    ]  # fmt: skip
    return [
        Text(
            f"{card['search']['probes']:,} training examples were taken out at random, and the distances of held-out examples to their "
            "nearest neighbour among the others compared with theirs. If the splits are exchangeable these are two independent samples of "
            "one law, and of a held-out example and one taken out either is as often the nearer (95% interval; it holds the scatter of both). "
            "More is a sign of a leak, less of a shift or of training examples that are related to each other."
        ),
        Table(["split", "examples", f"median, {card['unit']}", "median taken out", "nearer", "KS", "p", "same label"], rows),
    ]  # fmt: skip


def _per_class(card: Mapping[str, Any]) -> list[Block]:
    if card["classes"] < 2 or not card["coverage"]:
        return []
    rows = [
        [label, key, f"{got['examples']:,}", f"{got['median']:.4g}", f"{got['probe_median']:.4g}", _share(got), f"{got['same_label']:.1%}"]
        for key, whole in card["coverage"].items()
        for label, got in whole["classes"].items()
    ]  # fmt: skip
    return [
        Text(f"By class; one interval in twenty misses 50% by chance, and these are {len(rows)}."),
        Table(["class", "split", "examples", "median", "median taken out", "nearer", "same label"], rows),
    ]


def _share(got: Mapping[str, Any]) -> str:
    return f"{got['share_nearer']:.1%} [{got['share_nearer_low']:.1%}, {got['share_nearer_high']:.1%}]"


def _classes(card: Mapping[str, Any]) -> list[Block]:
    names = list(card["splits"])
    totals = {key: sum(card["splits"][key]["classes"]) for key in names}
    rows = [
        [str(c), *(f"{card['splits'][key]['classes'][c]:,} ({card['splits'][key]['classes'][c] / totals[key]:.1%})" for key in names)]
        for c in range(card["classes"])
        if any(card["splits"][key]["classes"][c] for key in names)
    ]  # fmt: skip
    tests = [[key, f"{got['chi2']:.2f}", str(got["df"]), f"{got['p']:.2g}"] for key, got in card["balance"].items()]
    return [
        Table(["class", *names], rows),
        *([Table(["train against", "chi-squared", "degrees of freedom", "p"], tests)] if tests else []),
    ]


def _distribution(card: Mapping[str, Any]) -> list[Block]:
    spectrum = card["spectrum"]
    head, rows = ["split", "mean", "deviation", "values that never change"], []
    if card["levels"]:
        head += ["levels used", "at the lowest", "at the highest", "levels to move to be train"]
    for name, kind in (("power", "power / train's"), ("variance_along", "variance / train's")):
        head += [kind] if name in spectrum else []
    for key, split in card["splits"].items():
        row = [key, f"{split['mean']:.4f}", f"{split['std']:.4f}", f"{split['constant_values']:,}"]
        if card["levels"]:
            row += [f"{split['levels_used']}", *(f"{split[k]:.2%}" for k in ("lowest", "highest", "levels_from_train"))]
        for name in ("power", "variance_along"):
            if name in spectrum:
                row.append(_range(spectrum[name][key], spectrum[name]["train"]))
        rows.append(row)
    return [
        Text(
            f"On the scale that the model sees{', [-1, 1]' if card['levels'] else ''}. The last columns are the smallest and the largest "
            "ratio to the training split over rings of frequency and over principal directions (those that hold 99% of the variance). "
            "They are to be looked at; no test is made of them."
        ),
        Table(head, rows),
    ]


def _range(values: Sequence[float], train: Sequence[float]) -> str:
    """Smallest and largest ratio, where training has all but a hundredth of its sum."""
    a, b = np.asarray(values), np.asarray(train)
    order = np.argsort(-b)
    kept = order[: int(np.searchsorted(np.cumsum(b[order]), 0.99 * b.sum())) + 1]
    if not b[kept].all():
        return ""
    ratio = a[kept] / b[kept]
    return f"{ratio.min():.2f} to {ratio.max():.2f}"
