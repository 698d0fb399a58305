"""What was varied, from the records of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from difflab.compare.factors import factors


def job(directory: Path, *typed: str, config: dict | None = None, choices: dict | None = None) -> Path:
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(typed)))
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config or {}))
    (directory / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"choices": choices or {}}}}))
    return directory


def test_the_factors_of_a_sweep_are_what_differs_and_is_trained(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path / f"{s}{p}{seed}", f"schedule={s}", f"trainer.steps={p}", f"seed={seed}", "model.channels=8",
            f"bound={'quick' if seed else 'stratified'}", f"tracker.name={s}{p}", f"data.root={s}", f"sampler@preview={s}")
        for s in ("linear", "cosine") for p in (100, 60, 1000) for seed in (0, 1)
    ]  # fmt: skip
    found, levels = factors(jobs)
    assert [(f.name, f.levels) for f in found] == [
        ("schedule", ("cosine", "linear")), ("trainer.steps", ("60", "100", "1000"))
    ]  # fmt: skip
    assert levels[jobs[0]] == ("linear", "100")
    assert factors(jobs[::-1])[0] == found


def test_what_a_run_left_out_is_what_it_ran_with(tmp_path: Path) -> None:
    config = {"trainer": {"steps": 60}, "schedule": {"name": "cosine", "T": 100}}
    one = job(tmp_path / "a", "+schedule=linear", config=config, choices={"schedule": "linear"})
    two = job(tmp_path / "b", "trainer.steps=70", "schedule.T=100", config=config, choices={"schedule": "cosine"})
    found, levels = factors([one, two])
    assert [f.name for f in found] == ["schedule", "trainer.steps"]  # T was 100 in both
    assert levels == {one: ("linear", "60"), two: ("cosine", "70")}


def test_a_preset_is_called_by_its_own_name(tmp_path: Path) -> None:
    """unet_small.yaml and unet.yaml both say `name: unet`."""
    config = {"model": {"name": "unet"}}
    one = job(tmp_path / "a", "model=unet", config=config, choices={"model": "unet"})
    two = job(tmp_path / "b", config=config, choices={"model": "unet_small"})
    assert factors([one, two])[1] == {one: ("unet",), two: ("unet_small",)}


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe[", b"{a: 1"])
def test_a_damaged_record_is_no_end(tmp_path: Path, damage: bytes) -> None:
    one, two = job(tmp_path / "a", "schedule=linear"), job(tmp_path / "b", "schedule=cosine")
    for name in ("overrides.yaml", "hydra.yaml", "config.yaml"):
        (two / ".hydra" / name).write_bytes(damage)
    assert factors([one, two])[1][one] == ("linear",)
    assert factors([one]) == ([], {one: ()})
