"""The data's own card: what a bound on its held-out examples may be trusted for, found without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..build import build
from ..card.blocks import html, markdown
from ..card.collect import collect
from ..card.page import blocks
from ..card.verdict import verdict
from ..console import Progress
from ..data.base import Data
from ..figure.card import draw_all
from ..files import write_atomically, write_json


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=inspect data=NAME: card.md, card.html, card.json and figures/ in this job's directory."""
    task, name = config["task"], config["choices"]["data"]
    data: Data = build("data", config["data"])
    with Progress("nearest neighbours", unit="pair", transient=True) as bar:

        def progress(done: int, total: int) -> None:
            if not bar.done:  # the passes before the search are no part of its speed
                bar.start_at(done)
            bar.update(done, total)

        material = collect(data, name, task["near"], task["examples"], progress)
    card = material.card
    card["verdict"] = verdict(card)
    drawn = draw_all(material, run_dir / "figures")
    page = blocks(card, {key: path.relative_to(run_dir).as_posix() for key, path in drawn.items()})
    write_atomically(run_dir / "card.md", lambda file: file.write(markdown(page)))
    write_atomically(run_dir / "card.html", lambda file: file.write(html(page, f"difflab: {name}", run_dir)))
    write_json(run_dir / "card.json", card)
    print(f"{name}: {data.describe()}")
    found, fine = card["verdict"]["found"], card["verdict"]["fine"]
    print(
        "\n".join([*(f"- {text}" for text in found), f"{len(fine)} of {len(found) + len(fine)} checks found nothing"])
    )
    print(run_dir / "card.html", flush=True)
    return {"card": str(run_dir / "card.html")}
