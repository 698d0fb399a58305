"""Which bounds may stand in one table, and the sentence for those that may not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import NotComparable
from ..gaussian import BITS, NATS

FP32 = "fp32"  # the precision of results that are older than the choice of one

# what differs -> (what the two are, the remedy); {a} and {b} are their values
SENTENCES = {
    "unit": (
        "their bounds are {a} and {b}, and no conversion makes a probability and a density alike",
        "compare runs on data with grey levels and runs on continuous data apart",
    ),
    "data": ("they were trained on other data, {a} and {b}", "compare runs of one data set"),
    "levels": (
        "their data has {a} and {b} levels, so a bit is not the same choice in both",
        "compare runs of one data set",
    ),
    "split": ("they were measured on the {a} and on the {b} split", "measure both on one split with task=evaluate"),
    "split_sha256": (
        "they were measured on other examples, the held-out data differs ({a} and {b})",
        "compare runs of one data set with the same data.limit and files",
    ),
    "precision": (
        "their networks were evaluated in {a} and in {b}, which moves a bound by more than a paired difference may hide",
        "task=compare runs=[...] measures them alike",
    ),
    "clip_x0": (
        "bound.clip_x0={a} and bound.clip_x0={b} are two models with two bounds",
        "task=compare runs=[...] measures them alike",
    ),
}


def facts(result: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What must agree, of a run's result and its configuration (either may be empty); what is not known is left out.

    Not the decoder: all that give a probability give that of the same grey levels, and all densities are of the same x.
    """
    units = {BITS.key: f"a probability in {BITS.label}", NATS.key: f"a density in {NATS.label}"}
    known = {
        "unit": units.get(str(result.get("unit"))),
        "data": _name(result.get("data")) or _name(config.get("data")),
        "levels": result.get("levels"),
        "split": result.get("split"),
        "split_sha256": result.get("split_sha256"),
        "precision": result.get("precision", FP32) if result else None,
        "clip_x0": result.get("clip_x0"),
    }
    return {key: value for key, value in known.items() if value is not None}


def check_comparable(runs: Sequence[tuple[Path, Mapping[str, Any]]], ignore: Sequence[str] = ()) -> None:
    """ConfigError for the first two runs (directory, facts) that differ in anything but `ignore`."""
    for key, (what, remedy) in SENTENCES.items():
        known = [(directory, fact[key]) for directory, fact in runs if key in fact and key not in ignore]
        for directory, value in known[1:]:
            if value != known[0][1]:
                values = {"a": _short(known[0][1]), "b": _short(value)}
                raise NotComparable(
                    f"runs {known[0][0]} and {directory} are not comparable: {what.format_map(values)}; {remedy}."
                )


def _name(value: Any) -> str | None:
    """A choice by name, whether it is recorded as a name or as its whole node."""
    value = value.get("name") if isinstance(value, Mapping) else value
    return None if value is None else str(value)


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text[:12] if len(text) == 64 else text  # a sha256
