"""Feature networks: what they refuse, what they learn, that what they learned is theirs alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from difflab.build import build
from difflab.data.digits import Digits
from difflab.errors import ConfigError, NotDefined
from difflab.features.base import Features
from tests.test_combinations import config_of

CPU = torch.device("cpu")
DIGITS = Digits(limit=200)


def classifier(cache: Path, **values: Any) -> Features:
    node = {
        "name": "classifier",
        "width": 8,
        "channels": 4,
        "steps": 60,
        "batch_size": 32,
        "lr": 0.01,
        "cache": str(cache),
    }
    return build("features", node | values, data=DIGITS)


def ready(features: Features) -> tuple[Features, list[tuple[int, int]]]:
    steps: list[tuple[int, int]] = []
    features.prepare(CPU, lambda done, total: steps.append((done, total)))
    return features, steps


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_classifier_learns_once_the_same_whatever_the_threads_and_seeds(cache: Path, tmp_path: Path) -> None:
    first, steps = ready(classifier(cache))
    assert steps == [(i + 1, 60) for i in range(60)]
    again, steps = ready(classifier(cache))
    assert not steps and again.fingerprint == first.fingerprint and again.facts == first.facts
    threads, _ = torch.get_num_threads(), torch.manual_seed(99)
    torch.set_num_threads(2)
    drawn = torch.random.get_rng_state()
    other, steps = ready(classifier(tmp_path))
    assert torch.get_num_threads() == 2 and torch.equal(torch.random.get_rng_state(), drawn)
    torch.set_num_threads(threads)
    assert len(steps) == 60 and other.fingerprint == first.fingerprint
    x0 = DIGITS.to_unit(DIGITS.test.x)
    assert torch.equal(other(x0), first(x0)) and first(x0).shape == (360, 8)


def test_what_it_knows_is_measured_on_test_examples(cache: Path) -> None:
    features, _ = ready(classifier(cache))
    facts = features.facts
    right = features.network(DIGITS.to_unit(DIGITS.test.x)).argmax(1) == DIGITS.test.label  # type: ignore[attr-defined]
    assert facts["accuracy"] == pytest.approx(float(right.float().mean())) and facts["accuracy"] > 0.3
    assert facts["accuracy_se"] == pytest.approx(float(right.float().std(correction=0)) / 360**0.5)


def test_its_features_have_mean_0_and_variance_1_in_each_example(cache: Path) -> None:
    found = ready(classifier(cache))[0](DIGITS.to_unit(DIGITS.test.x))
    torch.testing.assert_close(found.mean(1), torch.zeros(360), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.var(1, correction=0), torch.ones(360), rtol=0, atol=0.02)


def test_other_values_or_data_make_another_one(cache: Path) -> None:
    places = {
        classifier(cache).place, classifier(cache, lr=0.02).place,  # type: ignore[attr-defined]
        build("features", config_of([])["features"], data=DIGITS).place, build("features", config_of([])["features"], data=Digits(limit=201)).place,
    }  # fmt: skip
    assert len(places) == 4


def test_a_damaged_one_is_made_again_and_comes_out_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = ready(classifier(tmp_path))
    place: Path = first.place  # type: ignore[attr-defined]
    for name, damage in (("model.safetensors", b"x"), ("record.json", b"{}"), ("record.json", b"\xff")):
        (place / name).write_bytes(damage)
        again, steps = ready(classifier(tmp_path))
        assert len(steps) == 60 and again.fingerprint == first.fingerprint
        assert "is damaged" in capsys.readouterr().err
    assert json.loads((place / "record.json").read_text())["sha256"] == first.fingerprint


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"set features\.cache to a directory"):
        ready(classifier(tmp_path / "file", steps=1))


def test_pixels_are_the_values() -> None:
    features, _ = ready(build("features", {"name": "pixels"}, data=DIGITS))
    x0 = DIGITS.to_unit(DIGITS.test.x)
    assert torch.equal(features(x0), x0.flatten(1))
    assert features.fingerprint != ready(build("features", {"name": "pixels"}, data=_data("gaussian")))[0].fingerprint


@pytest.mark.parametrize(
    ("data", "node", "words"),
    [
        ("gaussian", {"name": "classifier"}, "set features=pixels"),
        ("dead_leaves", {"name": "classifier"}, "have none; set features=pixels"),
        ("gaussian", {"name": "inception"}, "reads pictures"),
        ("text", {"name": "pixels"}, "these data are symbols"),
        ("text", {"name": "classifier"}, "these data are symbols"),
    ],
)
def test_data_that_a_network_cannot_read_are_refused_in_a_sentence(data: str, node: dict[str, Any], words: str) -> None:
    with pytest.raises(NotDefined, match=words):
        build("features", config_of([f"features={node['name']}"])["features"], data=_data(data))


def test_without_weights_inception_says_whose_are_needed_and_loads_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is downloaded"):
        build("features", {"name": "inception", "weights": None}, data=DIGITS)
    with pytest.raises(ConfigError, match="no such file"):
        build("features", {"name": "inception", "weights": str(tmp_path / "no")}, data=DIGITS)


class Bomb:
    def __reduce__(self) -> Any:
        return Path.write_text, (Path("exploded"), "")


@pytest.mark.parametrize("content", [Bomb(), {"fc.weight": torch.zeros(2, 3)}, [1]])
def test_weights_that_are_others_or_no_tensors_are_refused_and_run_nothing(
    content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="not the weights of FID's Inception network"):
        ready(build("features", {"name": "inception", "weights": str(tmp_path / "weights.pth")}, data=DIGITS))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("key", "value"), [("width", 0), ("channels", 0), ("steps", 0), ("batch_size", 0), ("lr", 0.0)]
)
def test_values_out_of_range_are_refused_by_name(key: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"features\.{key}="):
        classifier(tmp_path, **{key: value})


def _data(name: str) -> Any:
    small = {"dead_leaves": ["data.train_size=20", "data.val_size=4", "data.test_size=4"]}
    return build("data", config_of([f"data={name}", *small.get(name, [])])["data"])
