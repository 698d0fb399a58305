"""A space through the whole product: train, interrupt, resume, evaluate, sample, compare, report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from difflab import tables
from difflab.errors import ConfigError
from difflab.task import compare, evaluate, report, sample, train
from difflab.train import checkpoint
from difflab.train.metrics import read
from tests.faults.runs import assert_equal
from tests.space.conftest import MLP, SMALL, UNET
from tests.test_combinations import config_of
from tests.undrawn import undrawn_runs

PCA = [*SMALL, "space=pca", "space.k=6", *MLP]
AE = [*SMALL, "space=autoencoder", "space.steps=6", "space.width=8", "space.batch_size=16", *UNET]
BOTH = pytest.mark.parametrize("choice", [PCA, AE], ids=["pca", "autoencoder"])


@pytest.fixture(scope="module", autouse=True)
def undrawn():
    """No figures: they take ten times as long as these runs."""
    with undrawn_runs():
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, undrawn) -> dict[str, Path]:
    """A run of each, and one whose chain is over the data."""
    top = tmp_path_factory.mktemp("spaces")
    for name, choice in {"pca": PCA, "autoencoder": AE, "identity": [*SMALL, *UNET]}.items():
        train.run(config_of(choice), top / name)
        (top / name / ".hydra").mkdir()
        (top / name / ".hydra" / "config.yaml").write_text(json.dumps(config_of(choice)))
    return {path.name: path for path in top.iterdir()}


def name_of(choice: list[str]) -> str:
    return "pca" if choice is PCA else "autoencoder"


@BOTH
def test_its_terms_stand_in_every_record_and_add_up(runs: dict[str, Path], choice: list[str]) -> None:
    run, terms = runs[name_of(choice)], [f"space_{part}" for part in parts_of(choice)]
    result = json.loads((run / "result.json").read_text())
    whole = sum(result[name] for name in ("prior_kl", "transition_kl", "decoder_nll", *terms))
    assert result["unit"] == "bpd" and whole == pytest.approx(result["bpd"], abs=1e-9)
    assert result["choices"]["space"] == name_of(choice) and result["space_seconds"] > 0
    for stem in ("step_00000006", "step_00000006-variances", "val_step_00000006"):
        table = tables.load(run / "bound" / f"{stem}.csv")
        assert table["term"][-len(terms) :].tolist() == terms
    rows = [row for row in read(run / "metrics.jsonl") if "val/bpd" in row]
    for row in rows:
        parts = sum(row[f"val/{name}"] for name in ("prior_kl", "transition_kl", "decoder_nll", *terms))
        assert parts == pytest.approx(row["val/bpd"], abs=1e-9)
        assert abs(row["train/bpd"] - row["val/bpd"]) < 3  # holds what the space adds, which is more than that
    chains = tables.load(run / "bound" / "step_00000006-chains.csv")
    whole = (chains["steps"] == 12) & (chains["variance"] == "fixed_beta") & (chains["chain"] == "even")
    assert chains["bpd"][whole][0] == pytest.approx(result["variances"]["fixed_beta"]["bpd"], rel=0.1)
    assert abs(chains["difference"].astype(float)[(chains["steps"] == 4) & (chains["variance"] == "optimal")]).max() < 1


def parts_of(choice: list[str]) -> list[str]:
    return ["volume", "residual"] if choice is PCA else ["reconstruction", "entropy"]


@BOTH
@pytest.mark.parametrize("fault", ["before the chain", "in training"])
def test_an_interrupted_run_ends_as_the_one_that_was_not(
    runs: dict[str, Path], choice: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    target = "difflab.space.autoencoder.Autoencoder._lesson" if choice is AE else "difflab.space.pca.Pca.set"
    target = target if fault == "before the chain" else "difflab.train.trainer.Trainer.train_step"
    module, _, method = target.rpartition(".")
    owner = pytest.importorskip(module.rpartition(".")[0]).__dict__[module.rpartition(".")[2]]
    original, calls = getattr(owner, method), []

    def dying(*given):
        calls.append(given)
        if len(calls) == (1 if method == "set" else 4):
            raise Killed
        return original(*given)

    config = config_of(choice)
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, dying)
        with pytest.raises(Killed):
            train.run(config, tmp_path / "run")
    if choice is AE and fault == "before the chain":
        with pytest.raises(ConfigError, match="its space had learned .* resume="):
            evaluate.run(config_of([*choice, f"run={tmp_path / 'run'}"]), tmp_path)
    train.run(config_of([*choice, "resume=auto"]), tmp_path / "run")
    assert_equal(runs[name_of(choice)], tmp_path / "run")


@BOTH
def test_a_checkpoint_has_its_space(runs: dict[str, Path], choice: list[str], tmp_path: Path, monkeypatch) -> None:
    """Nothing is learned again; the network and its average hold the same."""
    run = runs[name_of(choice)]
    monkeypatch.setattr("difflab.space._linear.Linear.learn", None)
    monkeypatch.setattr("difflab.space.autoencoder.Autoencoder.learn", None)
    result = evaluate.run(config_of([*choice, f"run={run}", "bound.examples=4"]), tmp_path)
    assert result["bpd"] == pytest.approx(
        sum(result[n] for n in ("prior_kl", "transition_kl", "decoder_nll", *(f"space_{p}" for p in parts_of(choice)))),
        abs=1e-9,
    )
    picture = Path(sample.run(config_of([*choice, f"run={run}"]), tmp_path)["samples"])
    assert picture.stat().st_size > 0
    state = checkpoint.load(checkpoint.latest(run))
    own = [name for name in state["model"] if name.startswith("part_space.")]
    assert own and all(torch.equal(state["model"][name], state["ema"][name]) for name in own)


def test_runs_over_different_spaces_are_compared_in_pairs(runs: dict[str, Path], tmp_path: Path) -> None:
    directories = [str(path) for path in runs.values()]
    compare.run(config_of(["task=compare", "tracker=none", f"runs=[{','.join(directories)}]"]), tmp_path)
    table = tables.load(tmp_path / "comparison.csv")
    terms = ("space_volume", "space_residual", "space_reconstruction", "space_entropy")
    for row in range(3):
        result = json.loads((Path(str(table["directory"][row])) / "result.json").read_text())
        parts = ("prior_kl", "transition_kl", "decoder_nll", *terms)
        assert table["bpd"][row] == pytest.approx(result["bpd"])
        found = sum(float(table[f"difference_{part}"][row]) for part in parts)
        assert found == pytest.approx(float(table["difference"][row]), abs=1e-9)
    by_term = tables.load(tmp_path / "comparison_terms.csv")
    for name in set(by_term["run"]):
        mine = by_term["run"] == name
        row = int((table["run"] == name).nonzero()[0][0])
        assert by_term["difference"][mine].sum() == pytest.approx(float(table["difference"][row]), abs=1e-9)
    text = (tmp_path / "comparison.md").read_text()
    assert "space volume" in text and "space reconstruction" in text
    page = report.run(config_of(["task=report", f"runs=[{','.join(directories)}]"]), tmp_path)
    html = Path(str(page["report"])).read_text()
    assert all(f"<th>{term}</th>" in html for term in terms)


def test_an_autoencoder_is_loaded_from_another_run(runs: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("difflab.space.autoencoder.Autoencoder._lesson", None)
    train.run(config_of([*AE, f"space.load={runs['autoencoder']}", "seed=1"]), tmp_path / "run")
    states = [checkpoint.load(checkpoint.latest(run))["model"] for run in (runs["autoencoder"], tmp_path / "run")]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0] if n.startswith("part_space."))
    for wrong, says in ((runs["pca"], "another autoencoder"), (runs["identity"], "another autoencoder")):
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(ConfigError, match=says):
            train.run(config_of([*AE, f"space.load={wrong}"]), tmp_path / "run")


def test_a_run_that_is_older_than_spaces_has_none(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "old"
    shutil.copytree(runs["identity"], run)
    record = json.loads((run / ".hydra" / "config.yaml").read_text())
    del record["space"]
    (run / ".hydra" / "config.yaml").write_text(json.dumps(record))
    for place in (run / "checkpoints").iterdir():
        state = checkpoint.load(place)
        del state["design"]["space"]
        assert "space" not in state
        checkpoint.save(place, state)
    train.run(config_of([*SMALL, *UNET, "resume=auto", "trainer.steps=7"]), run)
    with pytest.raises(ConfigError, match=r"^space\.name is|model\.name is"):
        train.run(config_of([*PCA, "resume=auto", "trainer.steps=8"]), run)
