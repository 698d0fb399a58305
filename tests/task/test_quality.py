"""task=quality on small runs: what it leaves, that it goes on where it was stopped, what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from difflab import tables
from difflab.errors import ConfigError, NotDefined
from difflab.quality.record import records
from difflab.task import features, quality, train
from difflab.train import checkpoint
from tests.task.test_tasks import TINY
from tests.test_combinations import config_of
from tests.undrawn import undrawn_runs

SMALL = ["task.count=60", "task.batch_size=25", "task.groups=5", "task.k=3", "features=pixels"]
VECTORS = ["data=gaussian", "schedule.T=12", "trainer.steps=4", "trainer.val_every=0", "trainer.batch_size=32", "model.width=16", "bound.examples=6", "bound.times=3",
    "bound.exact_steps=2", "sampler.count=4", "data.train_size=200", "data.val_size=60", "data.test_size=80", "chains.verify=[]", "tracker=none"]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def undrawn():
    """No figures of the runs: they take ten times as long."""
    with undrawn_runs():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run") / "0"
    train.run(config_of([*TINY, "trainer.val_every=0", "chains.verify=[]"]), directory)
    return directory


def measured(run: Path, *more: str, base: list[str] = TINY) -> dict[str, Any]:
    return quality.run(config_of([*base, "task=quality", f"run={run}", *SMALL, *more]), run)


def test_the_record_the_table_and_the_figure_agree(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = measured(run)
    path = Path(record["files"])
    assert path.parent == run / "quality" and path.name.startswith("step_00000006-ancestral-3-pixels-")
    (saved,) = records(run)
    assert saved["frechet_pixels"] == record["frechet_pixels"] > record["frechet_pixels_corrected"]
    assert saved["nfe"] == 60 * 3 and saved["samples"] == 60 and saved["reference"] == 360
    assert saved["manifold_examples"] == 60 and saved["held_out"]["examples"] == 60
    table = tables.load(path.with_name(f"{path.name}.csv"))
    assert table["samples"][0] == saved["frechet_pixels"] and table["held_out_se"][2] == saved["held_out"]["recall_se"]
    assert (run / "figures" / f"quality-{path.name}.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "180 network evaluations" in printed and "held-out examples" in printed
    # an untrained network's samples are further away than data are
    assert (
        saved["frechet_pixels_corrected"]
        > saved["held_out"]["frechet_pixels_corrected"] + 3 * saved["frechet_pixels_se"]
    )
    assert saved["held_out"]["precision"] > saved["precision"]


def test_samples_are_kept_and_the_first_ones_whatever_the_number(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = measured(run)
    folder = next((run / "quality").glob("samples-*"))
    before = [np.load(path) for path in sorted(folder.glob("*.npy"))]
    assert [x.shape for x in before] == [(25, 1, 8, 8)] * 3 and before[0].dtype == np.uint8 and before[0].max() <= 16
    assert len({x.tobytes() for x in before}) == 3
    (folder / "000001.npy").write_bytes(b"x")
    assert measured(run)["frechet_pixels"] == record["frechet_pixels"]
    assert all(np.array_equal(np.load(path), x) for path, x in zip(sorted(folder.glob("*.npy")), before, strict=True))
    monkeypatch.setattr(quality, "draw", lambda *_: pytest.fail("they are there"))
    assert measured(run, "task.count=45")["samples"] == 45


def test_an_interrupted_measurement_goes_on(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = tmp_path / "run"
    shutil.copytree(run, again, ignore=shutil.ignore_patterns("quality"))
    draw, drawn = quality.draw, []

    def once(*given: Any) -> torch.Tensor:
        if len(drawn) == 2:
            raise SystemExit(143)
        drawn.append(given[5])
        return draw(*given)

    monkeypatch.setattr(quality, "draw", once)
    with pytest.raises(SystemExit):
        measured(again)
    assert not records(again)
    drawn.clear()
    assert measured(again)["frechet_pixels"] == measured(run)["frechet_pixels"]
    assert drawn == [quality.NOISE_SEED + 2]


def test_another_sampler_or_other_weights_have_samples_of_their_own(run: Path) -> None:
    lab, _, _, source = quality.opened(config_of([*TINY, f"run={run}"]))
    other, _, _, _ = quality.opened(config_of([*TINY, f"run={run}", "sampler.clip_x0=false"]))
    third, _, _, _ = quality.opened(config_of([*TINY, f"run={run}", "sampler.count=7"]))
    task = {"batch_size": 25}
    names = [quality.drawn_by(x, source, task) for x in (lab, other, third)]
    assert names[0] == names[2] != names[1]
    assert quality.drawn_by(lab, run / "checkpoints" / "step_00000002", task) != names[0]
    assert quality.drawn_by(lab, source, {"batch_size": 26}) != names[0]


def test_labels_are_as_frequent_as_in_the_data_and_told(tmp_path: Path) -> None:
    own = [*TINY, "model.num_classes=auto", "trainer.val_every=0", "chains.verify=[]"]
    train.run(config_of(own), tmp_path)
    lab, diffusion, _, _ = quality.opened(config_of([*own, f"run={tmp_path}"]))
    n = len(lab.data.train)
    whole = quality.labels(lab, 0, n)
    assert torch.equal(whole.bincount(), lab.data.train.label.bincount())
    assert torch.equal(torch.cat([quality.labels(lab, 0, 25), quality.labels(lab, 25, n - 25)]), whole)
    assert len(whole[:25].unique()) > 5
    told: list[torch.Tensor] = []
    model = diffusion.model

    def spy(x_t: torch.Tensor, log_snr: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        assert cond is not None
        told.append(cond)
        return model(x_t, log_snr, cond)

    quality.sampled(
        lab, replace(diffusion, model=spy), {"count": 30, "batch_size": 25}, tmp_path / "x", None, lambda *_: None
    )
    assert torch.equal(torch.cat([told[0], told[-1]]), whole[:50])


def test_vectors_and_spaces_and_states(tmp_path: Path) -> None:
    train.run(config_of(VECTORS), tmp_path / "vectors")
    record = quality.run(config_of([*VECTORS, "task=quality", f"run={tmp_path / 'vectors'}", *SMALL[:-1]]), tmp_path)
    assert record["key"] == "frechet_pixels" and record["width"] == 4
    for name, more in (
        ("states", ["process=absorbing"]),
        ("space", ["space=autoencoder", "space.steps=4", "space.width=8", "space.batch_size=16", "decoder=gaussian"]),
    ):
        own = [*(line for line in TINY if not line.startswith("model.")), "trainer.val_every=0", "chains.verify=[]", "model.channels=8", "model.channel_mult=[1]",
            "model.groups=2", "model.embedding=16", *more]  # fmt: skip
        train.run(config_of(own), tmp_path / name)
        record = measured(tmp_path / name, base=own)
        assert record["samples"] == 60 and 0 <= record["precision"] <= 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("task.count=1", r"task\.count=1 must be at least 2"),
        ("task.k=0", r"task\.k=0"),
        ("task.groups=1", r"task\.groups=1"),
        ("task.k=40", r"task\.k=40 are too many for 60 samples"),
        ("sampler=conditioned", "set sampler=ancestral"),
        ("features=inception", "nothing is downloaded"),
    ],
)
def test_what_no_figure_follows_from_is_refused(
    line: str, words: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = [x for x in TINY if not (line.startswith("sampler") and x.startswith("sampler."))]
    given = [x for x in SMALL if x.partition("=")[0] != line.partition("=")[0]]
    monkeypatch.setattr(quality, "draw", lambda *_: pytest.fail("too early"))
    with pytest.raises(ConfigError, match=words):
        quality.run(config_of([*base, "task=quality", f"run={run}", *given, line]), run)


def test_without_torchmetrics_it_says_so_before_it_samples(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difflab.quality.frechet.find_spec", lambda name: None)
    monkeypatch.setattr(quality, "draw", lambda *_: pytest.fail("too early"))
    with pytest.raises(ConfigError, match=r"pip install 'difflab\[quality\]'"):
        measured(run, "sampler.clip_x0=false")


def test_samples_that_are_not_finite_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "draw", lambda *_: torch.full((25, 1, 8, 8), torch.nan))
    with pytest.raises(FloatingPointError, match="not finite numbers"):
        measured(run, "sampler.clip_x0=false")


def test_symbols_have_no_distance(tmp_path: Path) -> None:
    with pytest.raises(NotDefined, match="symbols"):
        features.run(config_of(["task=features", "data=text"]), tmp_path)


def test_a_feature_network_is_made_ready_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["task=features", "features.steps=5", f"features.cache={tmp_path}", "features.channels=4"]
    record = features.run(config_of(line), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "features.json").read_text()) == record
    assert record["features"] == "classifier" and f"sha256 {record['sha256']}" in capsys.readouterr().out
    assert len([*tmp_path.glob("classifier-*/model.safetensors")]) == 1


def test_a_record_that_is_damaged_is_left_out(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quality"
    folder.mkdir()
    good = Path(measured(run)["files"] + ".json").read_text()
    for number, text in enumerate((good, good[:50], "[]", good.replace('"precision":', '"x":'))):
        (folder / f"step_0000000{number}-x.json").write_text(text)
    assert [record["stem"] for record in records(tmp_path)] == ["step_00000000-x"]
    assert checkpoint.latest(run).name == "step_00000006"
