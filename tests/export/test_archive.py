"""An export that is damaged or made up by somebody: no code runs, and one sentence names it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import difflab
from difflab.errors import ConfigError
from difflab.export import archive
from difflab.train import checkpoint
from tests.export.conftest import MLP, exported, made
from tests.faults.test_damage import DAMAGE, damage

FILES = ("model.safetensors", "config.json", "manifest.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("archive")
    run = made(
        place / "run", "data=gaussian", "data.train_size=100", "data.test_size=20", "parameterization=eps", *MLP
    )[2]
    return exported(run, place / "export", license="mit")


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_that_is_read_is_told(whole: Path, tmp_path: Path, name: str, how: str) -> None:
    known = (whole / "manifest.json").read_text()
    for seed in range(4):
        target = shutil.copytree(whole, tmp_path / f"it_{seed}")
        damage(target / name, how, seed, tmp_path / "sentinel")
        if name == "manifest.json" and how == "one bit" and not _touched(known, target):
            checkpoint.load(target)  # what it says of files that nobody reads
            continue
        with pytest.raises(ConfigError, match=f"it_{seed}"):
            checkpoint.load(target)
    assert not (tmp_path / "sentinel").exists()


def _touched(known: str, target: Path) -> bool:
    """Whether the manifest says another thing now of a file that is read."""
    try:
        found = json.loads((target / "manifest.json").read_bytes())
        return any(found[name] != json.loads(known)[name] for name in (archive.WEIGHTS, archive.RECORD))
    except (ValueError, LookupError):
        return True


def signed(directory: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A record that somebody has changed, and the manifest too."""
    file, manifest = directory / archive.RECORD, directory / "manifest.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    entries = json.loads(manifest.read_text())
    data = file.read_bytes()
    entries[archive.RECORD] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    manifest.write_text(json.dumps(entries))
    return directory


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["config"]["model"].update(_target_="os.system"), r"model\._target_=os\.system is refused"),
        (lambda r: r["config"]["model"].update(name="antigravity.model"), r"antigravity\.model is not in the registry"),
        (lambda r: r["config"]["model"].update(name="../../evil"), "is not in the registry"),
        (lambda r: r["config"]["model"].update(width="${oc.decode:x}"), "is refused: of OmegaConf's resolvers"),
        (lambda r: r["config"]["model"].update(width="${oc.env:SECRET_KEY}"), "SECRET_KEY would be written"),
        (lambda r: r["config"].update(nothing=1), "nothing"),
        (lambda r: r["config"].update(hydra={"callbacks": {"x": {"_target_": "os.system"}}}), "_target_"),
        (lambda r: r["config"].pop("schedule"), "it has no schedule"),
        (lambda r: r["config"]["model"].update(width=32), "the weights in .* are another network's"),
        (lambda r: r.update(config=[1]), "its parts are no mappings"),
        (lambda r: r.update(config=None), "its parts are no mappings"),
        (lambda r: r.update(choices=3), "its parts are no mappings"),
        (lambda r: r.update(step=-1), "at step -1"),
        (lambda r: r.update(step=True), "at step True"),
        (lambda r: r.update(format=2, version="9"), "was made by difflab 9, whose exports are of format 2"),
        (lambda r: r.pop("facts"), "KeyError"),
        (lambda r: r["facts"].update(shape=[4, -1]), r"shape \[4, -1\]"),
        (lambda r: r["facts"].update(shape="44"), "shape 44"),
        (lambda r: r["facts"].update(levels=2.5), "2.5 levels"),
        (lambda r: r["facts"].update(example=[]), "facts.example is no text"),
        (lambda r: r["facts"].update(fingerprint={"train": [1, 2]}), "fingerprint.train"),
        (lambda r: r["facts"].update(shape=[5]), "another network's"),
    ],
)  # fmt: skip
def test_a_record_that_is_made_up_is_judged_like_anything_typed(
    change: Callable[[dict[str, Any]], object], words: str, whole: Path, tmp_path: Path
) -> None:
    target = signed(Path(shutil.copytree(whole, tmp_path / "it")), change)
    with pytest.raises(ConfigError, match=words):
        difflab.load(target)


def test_a_record_without_end_is_refused(whole: Path, tmp_path: Path) -> None:
    target = Path(shutil.copytree(whole, tmp_path / "it"))
    text = "[" * 100_000
    (target / archive.RECORD).write_text(text)
    entry = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text)}
    (target / "manifest.json").write_text(json.dumps({archive.RECORD: entry}))
    with pytest.raises(ConfigError, match="cannot be read"):
        difflab.load(target)


def test_the_card_is_read_by_hubs_and_edited_by_people(whole: Path, tmp_path: Path) -> None:
    target = Path(shutil.copytree(whole, tmp_path / "it"))
    card = target / archive.CARD
    front, body = card.read_text().split("---\n", 2)[1:]
    matter = yaml.safe_load(front)
    assert matter["license"] == "mit" and matter["library_name"] == "difflab" and "gaussian" in matter["tags"]
    assert "pipeline_tag" not in matter and "model-index" not in matter  # vectors, and nothing was measured
    assert "None was measured of these weights" in body
    assert "20 test examples" in body and "for 3 steps of 16 examples" in body
    card.write_text("mine")
    assert difflab.load(target).step == 3


def test_the_manifest_names_every_file(whole: Path) -> None:
    names = {file.relative_to(whole).as_posix() for file in whole.rglob("*") if file.is_file()}
    assert {*json.loads((whole / "manifest.json").read_text()), "manifest.json"} == names
    assert names >= {archive.WEIGHTS, archive.RECORD, archive.CARD, archive.SCHEDULER}
