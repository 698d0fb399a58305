"""A feature network made ready for a data set: what task=quality would do first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..assemble import choose_device
from ..build import build
from ..data.base import Data
from ..features.base import Features
from ..files import write_json
from ..train.signals import Stop
from .measure import stage


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=features data=NAME [features=...]: its record as features.json in this job's directory; what it learned in its cache."""
    name = str(config["features"]["name"])
    data: Data = build("data", config["data"])
    features: Features = build("features", config["features"], data=data)
    with Stop() as stop, stage(f"features={name}", stop, unit=features.unit) as on_batch:
        features.prepare(choose_device(config["device"]), on_batch)
    record = {"features": name, "sha256": features.fingerprint, **features.facts}
    write_json(run_dir / "features.json", record)
    print(f"features: {features.describe()}\nsha256 {features.fingerprint}", flush=True)
    return record
