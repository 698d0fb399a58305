"""A checkpoint is the same dict again, or a sentence."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from difflab.errors import ConfigError
from difflab.train import checkpoint


def some_state() -> dict:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99))
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "ema": {k: v * 2 for k, v in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "meter": {"per_t": torch.arange(6, dtype=torch.float64).reshape(2, 3).T},  # not contiguous
        "timestep": {},
        "step": 7,
        "best": None,
        "seconds": 1.25,
        "nested": [{"a": True}, "text", [torch.tensor(3)]],
    }


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def test_what_is_saved_is_loaded_with_integer_keys_and_all(tmp_path):
    state = some_state()
    loaded = checkpoint.load(checkpoint.save(tmp_path / "step_00000007", state))
    for name, value in state.items():
        if name == "model" or name == "ema":
            assert loaded[name].keys() == value.keys() and all(torch.equal(loaded[name][k], value[k]) for k in value)
        else:
            assert equal(value, loaded[name]), name
    assert set(loaded["optimizer"]["state"]) == {0, 1}
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.load_state_dict(loaded["optimizer"])
    assert optimizer.state_dict()["state"].keys() == state["optimizer"]["state"].keys()


FILES = ["model.safetensors", "ema.safetensors", "tensors.safetensors", "state.json"]


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_noticed_and_the_file_named(tmp_path, name):
    directory = checkpoint.save(tmp_path / "step_00000007", some_state())
    data = bytearray((directory / name).read_bytes())
    data[-1] ^= 1
    (directory / name).write_bytes(data)
    with pytest.raises(ConfigError, match=f"{name} is damaged"):
        checkpoint.load(directory)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_noticed(tmp_path, name):
    directory = checkpoint.save(tmp_path / "step_00000007", some_state())
    (directory / name).unlink()
    with pytest.raises(ConfigError, match=name):
        checkpoint.load(directory)


@pytest.mark.parametrize("text", ["", "[]", '{"model.safetensors": {}}'])
def test_a_manifest_that_is_none_is_refused_in_a_sentence(tmp_path, text):
    directory = checkpoint.save(tmp_path / "step_00000007", some_state())
    (directory / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="cannot be read"):
        checkpoint.load(directory)


def test_saving_leaves_nothing_aside_and_replaces_best(tmp_path):
    state = some_state()
    for step in (1, 2):
        checkpoint.save(tmp_path / "checkpoints" / "best", {**state, "step": step})
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["best"]
    assert checkpoint.load(tmp_path / "checkpoints" / "best")["step"] == 2
    with pytest.raises(ValueError, match="JSON"):  # NaN is no JSON: nothing half-written stays
        checkpoint.save(tmp_path / "checkpoints" / "step_00000003", {**state, "best": float("nan")})
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["best"]


def test_the_newest_is_the_highest_step_as_a_number_and_old_ones_go(tmp_path):
    for step in (5, 100_000_000, 99_999_999, 7):
        checkpoint.save(tmp_path / "checkpoints" / f"step_{step:08d}", some_state())
    checkpoint.save(tmp_path / "checkpoints" / "best", some_state())
    assert checkpoint.latest(tmp_path).name == "step_100000000"
    assert checkpoint.latest(tmp_path / "checkpoints" / "best").name == "best"
    checkpoint.prune(tmp_path, 2)
    assert [p.name for p in checkpoint.newest_first(tmp_path)] == ["step_100000000", "step_99999999"]
    assert (tmp_path / "checkpoints" / "best").exists()
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        checkpoint.latest(tmp_path / "elsewhere")


def test_the_manifest_states_size_and_hash_of_every_file(tmp_path):
    import hashlib

    directory = checkpoint.save(tmp_path / "step_00000007", some_state())
    manifest = json.loads((directory / "manifest.json").read_text())
    assert (
        sorted(manifest)
        == sorted(FILES)
        == sorted(p.name for p in directory.iterdir() if p.suffix != ".json" or p.name == "state.json")
    )
    for name, entry in manifest.items():
        data = (directory / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_checkpoint_that_was_being_replaced_comes_back(tmp_path, monkeypatch, dies_at):
    """Killed right before the old one, or the new one, is renamed."""
    best = checkpoint.save(tmp_path / "checkpoints" / "best", some_state())
    calls, replace = [], os.replace

    class Killed(BaseException):
        pass

    def dies(source, target):
        calls.append(source)
        if len(calls) == dies_at:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", dies)
        broken.setattr(shutil, "rmtree", lambda *given, **named: None)  # a killed process cleans nothing up
        with pytest.raises(Killed):
            checkpoint.save(best, some_state() | {"step": 8})
    assert best.exists() == (dies_at == 1)
    checkpoint.tidy(tmp_path)
    assert checkpoint.load(best)["step"] == 7
    assert [path.name for path in best.parent.iterdir()] == ["best"]
    assert checkpoint.load(checkpoint.save(best, some_state() | {"step": 8}))["step"] == 8
    (best.parent / ".best.old").mkdir()  # killed after the new one stood in its place
    (best.parent / ".step_00000002.gone").mkdir()
    checkpoint.tidy(tmp_path)
    assert checkpoint.load(best)["step"] == 8
    assert [path.name for path in best.parent.iterdir()] == ["best"]
