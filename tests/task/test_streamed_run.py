"""Whole runs on pictures that stay in their files: the same figures as from memory, and an end that leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difflab.errors import ConfigError
from difflab.task import train
from difflab.train import checkpoint
from tests.task.test_tasks import TINY
from tests.test_combinations import config_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 pictures of noise around a shade of their own."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(0)
    for i in range(90):
        picture = (random.uniform(0, 200) + random.uniform(0, 55, (8, 8))).astype(np.uint8)
        Image.fromarray(picture).save(root / f"{i:02}.png")
    return root


def overrides(folder: Path, *more: str) -> list[str]:
    return [
        "data=image_folder",
        f"data.root={folder}",
        "data.size=8",
        "data.channels=1",
        "data.val_fraction=0.2",
        "data.test_fraction=0.2",
        *TINY,
        *more,
    ]


def test_weights_ledger_and_figures_are_those_of_a_run_in_memory(folder: Path, tmp_path: Path) -> None:
    for name, keys in {"held": ["data.in_memory=true"], "far": ["data.in_memory=false", "trainer.workers=2"]}.items():
        train.run(config_of(overrides(folder, *keys)), tmp_path / name)
    held, far = (checkpoint.load(tmp_path / name / "checkpoints" / "step_00000006") for name in ("held", "far"))
    for part in ("model", "ema"):
        assert all(torch.equal(held[part][name], far[part][name]) for name in held[part])
    tables = [path.relative_to(tmp_path / "held") for path in (tmp_path / "held" / "bound").glob("*.csv")]
    assert len(tables) > 5
    for table in tables:
        assert (tmp_path / "held" / table).read_bytes() == (tmp_path / "far" / table).read_bytes(), table
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("held", "far")]
    for key in ("bpd", "floors", "split_sha256", "variances", "best_val_bpd"):
        assert results[0][key] == results[1][key], key


def test_a_broken_picture_ends_a_run_with_its_name(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in sorted(folder.glob("*.png")):
        (broken / path.name).write_bytes(path.read_bytes()[:50] if path.name == "17.png" else path.read_bytes())
    keys = ["data.in_memory=false", "trainer.workers=1", "trainer.batch_size=60"]
    with pytest.raises(ConfigError, match=r"^\S+/17\.png cannot be read as a picture [^\n]*$"):
        train.run(config_of(overrides(broken, *keys)), tmp_path / "run")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc which processes live")
def test_a_scheduler_that_stops_all_processes_gets_a_checkpoint_and_none_is_left(folder: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    keys = [
        "data.in_memory=false",
        "trainer.workers=2",
        "trainer.steps=100000",
        "trainer.val_every=0",
        "debug.slow_step=0.05",
    ]
    command = [sys.executable, "-m", "difflab", *overrides(folder, *keys), f"hydra.run.dir={run_dir}"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        try:
            wait(lambda: checkpoint.newest_first(run_dir) or run.poll() is not None, 90)
            assert len(group(run.pid)) == 3
            os.killpg(run.pid, signal.SIGTERM)
            assert run.wait(60) == 143
            wait(lambda: not group(run.pid), 15)
        finally:
            run.kill()
        assert run.stderr and "Traceback" not in run.stderr.read()
    assert checkpoint.load(checkpoint.latest(run_dir))["step"] > 2


def group(leader: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def wait(for_it, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not for_it():
        assert time.monotonic() < deadline
        time.sleep(0.1)
