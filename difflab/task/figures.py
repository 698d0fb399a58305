"""Every figure of a measurement, drawn from its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import tables
from ..bound.ledger import Ledger
from ..figure import bands, chains, per_log_snr, per_timestep, rate_distortion, variances

TABLES: Mapping[str, Callable[..., Path]] = {
    "variances": variances, "rate_distortion": rate_distortion, "chains": chains, "bands": bands
}  # fmt: skip


def draw_all(stem: Path, result: Mapping[str, Any], directory: Path, title: str = "") -> dict[str, Path]:
    """{the tracker's key: picture} of the measurement whose files are `stem`.csv, ...; pictures go into `directory`."""
    ledger = Ledger.load(stem.with_name(stem.name + ".csv"), dict(result))
    drawn = {
        "bound/figure": per_timestep(ledger, directory / "bound_per_t.png", title=title),
        "bound/figure_log_snr": per_log_snr(ledger, directory / "bound_per_log_snr.png", title=title),
    }
    for name, draw in TABLES.items():
        path = stem.with_name(f"{stem.name}-{name}.csv")
        if path.exists():
            drawn[f"bound/{name}"] = draw(tables.load(path), ledger.unit, directory / f"{name}.png", title=title)
    return drawn
