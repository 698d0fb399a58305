"""What a run was is what its export is, once the run is gone: the bound to the last digit, samples, one step of the chain."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import difflab
from difflab.assemble import Laboratory
from difflab.bound import ledger
from difflab.bound.estimator import evaluate
from difflab.errors import ConfigError
from difflab.train.trainer import Trainer
from tests.export.conftest import MLP, exported, made
from tests.test_combinations import OF_SPACE, TINY

GAUSSIAN = ["data=gaussian", "data.train_size=200", "data.val_size=20", "data.test_size=20", *MLP]
DIGITS = ["data=digits", *TINY["unet_small"], "model.channels=4"]
LATENT = [*TINY["unet_small"], "model.channels=4", "model.channel_mult=[1]"]
KINDS = {
    "pictures": [*DIGITS, "parameterization=eps"],
    "states": ["data=heartbeat", "data.train_size=60", "data.test_size=20", "process=absorbing", *MLP],
    "pca": ["data=digits", "space=pca", *OF_SPACE["pca"], *MLP],
    "learned schedule": [*GAUSSIAN, "schedule=learned"],
    "continuous data": [*GAUSSIAN, "parameterization=mu", "variance=optimal"],
    "continuous time": [*GAUSSIAN, "schedule.T='inf'", "strata=12", "variance=fixed_beta"],
    "classes": ["data=gaussian_mixture", "data.train_size=200", "data.val_size=20", "data.test_size=20", "data.components=3", *MLP,
                "model.num_classes=auto"],
}  # fmt: skip


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory: pytest.TempPathFactory) -> tuple[Laboratory, Trainer, Path]:
    return made(tmp_path_factory.mktemp("gaussian") / "run", *GAUSSIAN)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_the_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, trainer, run = made(tmp_path / "run", *KINDS[kind])
    averaged = trainer.averaged
    expected = ledger.build(evaluate(averaged, lab.examples(lab.data.test), lab.bound))
    directory = exported(run, tmp_path / "there")
    shutil.rmtree(run)
    place = shutil.move(directory, tmp_path / "elsewhere")
    monkeypatch.chdir(place)
    loaded = difflab.load(place)
    bound = loaded.bound()
    for name, value in expected.totals.items():
        assert bound[name] == value or value != value, name
    key = expected.unit.key
    assert (bound.value, bound.se) == (expected.totals[key], expected.totals[f"{key}_se"])
    assert bound.ledger.columns[key].tolist() == expected.columns[key].tolist()
    x = loaded.sample(3, steps=3, seed=2)
    assert x.shape == (3, *lab.data.shape) and x.dtype == (torch.float32 if lab.data.levels is None else torch.uint8)
    again = lab.sampler.__class__(
        **{**{k: v for k, v in lab.config["sampler"].items() if k != "name"}, "count": 3, "steps": 3}
    )
    label = again.labels(lab.classes, 2) if lab.classes else None
    z = averaged.space.decode(again.sample(averaged, lab.shape, 2, label=label))
    assert torch.equal(x, z if lab.data.levels is None else lab.data.from_unit(z))
    assert str(tmp_path) not in (place / "config.json").read_text() + (place / "README.md").read_text()
    own = loaded.log_likelihood_bound(x, labels=0 if lab.classes else None)
    total = sum(own.terms.values())
    assert own.nats == pytest.approx(total) and bool((own.se >= 0).all())


def test_an_autoencoder_taken_from_another_run_is_in_the_weights(tmp_path: Path) -> None:
    first = made(tmp_path / "first", "data=digits", *LATENT, "space=autoencoder", *OF_SPACE["autoencoder"])[2]
    lab, trainer, run = made(
        tmp_path / "run", "data=digits", *LATENT, "space=autoencoder", *OF_SPACE["autoencoder"], f"space.load={first}"
    )
    expected = ledger.build(evaluate(trainer.averaged, lab.examples(lab.data.test), lab.bound)).totals
    directory = exported(run, tmp_path / "there")
    shutil.rmtree(run), shutil.rmtree(first)
    assert difflab.load(directory).bound()["bpd"] == expected["bpd"]
    assert str(first) not in (directory / "config.json").read_text()


def test_a_text_is_given_where_it_lies(tmp_path: Path) -> None:
    text = tmp_path / "a private place.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    data = ["data=text", f"data.path='{text}'", "data.length=8", "model=unet_small", *LATENT]
    lab, trainer, run = made(tmp_path / "run", *data)
    expected = ledger.build(evaluate(trainer.averaged, lab.examples(lab.data.test), lab.bound)).totals
    directory = exported(run, tmp_path / "there")
    assert "private" not in (directory / "config.json").read_text() + (directory / "README.md").read_text()
    shutil.rmtree(run)
    loaded = difflab.load(directory)
    assert loaded.sample(2, steps=2).shape == (2, 1, 1, 8)
    with pytest.raises(
        ConfigError, match=r"the levels is 103 here and was 28 in training; give the same data \(data.root, data.path\)"
    ):
        loaded.bound()
    moved = text.rename(tmp_path / "moved.txt")
    assert difflab.load(directory, f"data.path={moved}").bound()["bpd"] == expected["bpd"]


def test_raw_weights_are_the_other_ones(gaussian: tuple[Laboratory, Trainer, Path], tmp_path: Path) -> None:
    lab, trainer, run = gaussian
    directory = exported(run, tmp_path / "raw", weights="raw")
    weights = difflab.load(directory).diffusion.model.state_dict()  # type: ignore[union-attr]
    own, average = lab.model.state_dict(), trainer.ema.module.state_dict()
    assert all(torch.equal(weights[name], own[name]) for name in own)
    assert not all(torch.equal(own[name], average[name]) for name in own)
    assert "these are not" in (directory / "README.md").read_text()


def test_an_export_needs_no_data_to_sample_and_says_what_the_bound_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, run = made(tmp_path / "run", *DIGITS)
    directory = exported(run, tmp_path / "there")

    def lost(self: object, *, limit: int | None) -> None:
        raise ConfigError("data: digits are not here.")

    monkeypatch.setattr("difflab.data.digits.Digits.__init__", lost)
    loaded = difflab.load(directory)
    x = loaded.sample(2, steps=2)
    assert len(loaded.log_likelihood_bound(x)) == 2
    assert loaded.data.show(loaded.data.to_unit(x), tmp_path / "grid").exists()
    with pytest.raises(ConfigError, match="digits are not here"):
        loaded.bound()
    monkeypatch.undo()
    from difflab.data.digits import Digits

    whole = Digits.__init__
    monkeypatch.setattr(Digits, "__init__", lambda self, *, limit: whole(self, limit=7))
    with pytest.raises(ConfigError, match="the train examples are others than those that this model was exported with"):
        difflab.load(directory).bound()


def test_an_export_is_a_run_for_other_tasks(
    gaussian: tuple[Laboratory, Trainer, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from difflab.cli import main

    directory, out = exported(gaussian[2], tmp_path / "there"), f"hydra.run.dir={tmp_path / 'job'}"
    assert main(["task=sample", f"run={directory}", "sampler.count=5", "sampler.steps=2", out]) == 0
    assert list((directory / "samples").iterdir())
    assert main([f"resume={directory}"]) == 1
    assert f"start from its weights with init={directory}" in capsys.readouterr().err


def test_an_export_is_written_over_nothing_that_is_somebodys(
    gaussian: tuple[Laboratory, Trainer, Path], tmp_path: Path
) -> None:
    directory = exported(gaussian[2], tmp_path / "there")
    again = exported(directory, tmp_path / "again")
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (again / name).read_bytes() == (directory / name).read_bytes()
    exported(directory, again)  # in the place of an earlier one
    (directory / "bound").mkdir()
    with pytest.raises(ConfigError, match=r"holds more than an export \(bound\)"):
        exported(again, directory)
    (again / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match="README.md was edited"):
        exported(directory, again)
    with pytest.raises(ConfigError, match="something that is no export"):
        exported(directory, gaussian[2])
    with pytest.raises(ConfigError, match=r"task\.weights=raw: .* holds one set of weights"):
        exported(directory, tmp_path / "raw", weights="raw")
    with pytest.raises(ConfigError, match=r"task\.weights=mean is not one of ema, raw"):
        exported(directory, tmp_path / "raw", weights="mean")


def test_the_record_is_the_whole_model(gaussian: tuple[Laboratory, Trainer, Path], tmp_path: Path) -> None:
    """In a process that has seen nothing, with nothing beside it."""
    lab, trainer, run = gaussian
    expected = ledger.build(evaluate(trainer.averaged, lab.examples(lab.data.test), lab.bound)).totals
    directory = exported(run, tmp_path / "there")
    code = "import difflab, json, sys; print(json.dumps(difflab.load(sys.argv[1], 'device=cpu').bound().value))"
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory)],
        capture_output=True,
        text=True,
        cwd=tmp_path / "empty",
        env=env,
        check=True,
    )
    assert json.loads(done.stdout) == expected["nats_per_dim"]
    assert not done.stderr and not list((tmp_path / "empty").iterdir())
