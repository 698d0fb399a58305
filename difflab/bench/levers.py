"""What each optimisation that was kept gains: unet_small with it over unet_small without it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from .lineup import Entry, small
from .pool import Pool, Say
from .summary import Spread, measured, ratio
from .work import Length, Work

BASE = small("trainer.compile=never", name="as it is")


@dataclass(frozen=True)
class Lever:
    """`other`: the network with the lever the other way. `kept`: the lever is in BASE, else in `other`, which then is
    compiled: in training alone."""

    name: str
    other: Entry
    kept: bool = True
    quick: bool = False


def _without(name: str, *overrides: str, quick: bool = False, **options: bool) -> Lever:
    return Lever(name, small("trainer.compile=never", *overrides, name=f"without: {name}", **options), quick=quick)


LEVERS = (
    _without("bf16 inside the network", "trainer.precision=fp32", "precision.evaluate=fp32", quick=True),
    _without("channels_last", quick=True, channels_last=False),
    _without("the allocator keeps large blocks", quick=True, keep_blocks=False),
    _without("groups of 16 and more channels (8 groups)", "model.groups=8"),
    _without("skips added (joined)", "model.skips=blocks"),
    _without("resampling by pooling (convolutions)", "model.resample=conv"),
    Lever("torch.compile", small("trainer.compile=default", name="compiled"), kept=False),
)
KINDS = ("train", "bound")


def measure(length: Length, quick: bool, say: Say) -> dict[str, dict[str, Any]]:
    """{kind of work: {entry's key: row}}."""
    chosen = [lever for lever in LEVERS if lever.quick or not quick]
    with closing(Pool([BASE, *(lever.other for lever in chosen if lever.kept)])) as pool:
        found = {kind: pool.measure(Work(kind, 32), length.rounds, length.block_seconds, say) for kind in KINDS}
    if compiled := [lever.other for lever in chosen if not lever.kept]:
        with closing(Pool([BASE, *compiled])) as pool:  # its base is measured beside it
            rows = pool.measure(Work("train", 32), length.rounds, length.block_seconds, say)
        found["compiled"] = rows
    return found


def ratios(found: dict[str, dict[str, Any]]) -> list[tuple[str, list[str | Spread], float | None]]:
    """(lever, speed with over speed without in training and in the bound, GFLOP without where they differ)."""
    lines = []
    for lever in LEVERS:
        cells: list[str | Spread] = []
        gflop = None
        for rows in [found[kind] for kind in KINDS] if lever.kept else [found.get("compiled", {})]:
            base, other = rows.get(BASE.key), rows.get(lever.other.key)
            if not base or not other:
                continue
            if not (measured(base) and measured(other)):
                cells.append(str(base.get("error") or other.get("error")))
                continue
            cells.append(ratio(base, other) if lever.kept else ratio(other, base))
            gflop = other["gflop"] if abs(other["gflop"] / base["gflop"] - 1) > 1e-3 else None
        if cells:
            lines.append((lever.name, cells, gflop))
    return lines
