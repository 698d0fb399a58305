"""A comparison -> the dictionary of its page, and the page: the same blocks as comparison.md, to sort, filter and fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..card.blocks import Block, Picture, Text, body, data
from ..compare.factors import Factor
from ..compare.markdown import Section
from ..gaussian import BITS, Unit
from .page import script_page

SCRIPTS = ("chart.js", "parts.js", "shell.js", "comparison.js")


@dataclass(frozen=True)
class Told:
    """What a comparison says."""

    title: str
    sections: Sequence[Section]
    views: Mapping[str, Sequence[Block]]  # of the effects
    failed: Mapping[str, str]
    not_defined: Mapping[str, str]
    unit: Unit = BITS
    factors: Sequence[Factor] = ()
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by what a row begins with: a run, a cell
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()


def page(told: Told, directory: Path) -> str:
    """One file; pictures are read from `directory`, those that were not drawn are left out."""
    pictures = [picture for picture in told.pictures if (directory / picture.path).is_file()]
    shown = {
        "unit": {"key": told.unit.key, "label": told.unit.label},
        "runs": [],  # parts.js: none is drawn here
        "title": told.title,
        "failed": list(told.failed.items()),
        "not_defined": list(told.not_defined.items()),
        "notes": list(told.notes),
        "factors": [{"name": factor.name, "levels": factor.levels} for factor in told.factors],
        "levels": told.levels,
        "sections": [
            {"id": s.id, "title": s.title, "blocks": [data(block, directory) for block in s.blocks]}
            for s in told.sections
            if s.blocks
        ],
        "views": [
            {"name": name, "blocks": [data(b, directory) for b in blocks]} for name, blocks in told.views.items()
        ],
        "pictures": [data(picture, directory) for picture in pictures],
    }
    lost = [
        Text(f"{kind}: {name}: {why}")
        for kind, jobs in (("failed", told.failed), ("not defined", told.not_defined))
        for name, why in jobs.items()
    ]
    plain = body([*lost, *(block for section in told.sections for block in section.blocks)], directory)
    return script_page(told.title, shown, SCRIPTS, plain)
