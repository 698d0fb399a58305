"""Files that are cut, emptied, overwritten or changed by one bit; a full disk; directories that cannot be written."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from difflab.errors import ConfigError
from difflab.train import checkpoint
from tests.faults.conftest import Start
from tests.faults.runs import TINY, assert_equal

FILES = ("model.safetensors", "ema.safetensors", "tensors.safetensors", "state.json", "manifest.json")
DAMAGE = ("cut", "emptied", "random", "one bit", "gone", "pickle")


class Sentinel:
    """A pickle that runs code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (Path.touch, (self.path,))


def damage(file: Path, how: str, seed: int, sentinel: Path) -> None:
    data, choose = bytearray(file.read_bytes()), random.Random(seed)
    if how == "cut":
        data = data[: choose.randrange(len(data))]
    elif how == "emptied":
        data = bytearray()
    elif how == "random":
        data = bytearray(choose.randbytes(len(data)))
    elif how == "one bit":
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
    elif how == "pickle":
        data = bytearray(pickle.dumps(Sentinel(sentinel)))
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(data)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_of_a_checkpoint_is_noticed_and_named(
    whole: Path, tmp_path: Path, name: str, how: str
) -> None:
    source = checkpoint.latest(whole)
    for seed in range(8):
        target = shutil.copytree(source, tmp_path / f"step_{seed}")
        damage(target / name, how, seed, tmp_path / "sentinel")
        with pytest.raises(ConfigError, match=r"checkpoint .*step_"):
            checkpoint.load(target)
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("text", ["{}", "[]", "null", "[" * 100_000, '{"state.json": {}}', '{"../state.json": 1}'])
def test_a_manifest_that_is_json_and_no_manifest_is_damage_too(whole: Path, tmp_path: Path, text: str) -> None:
    target = shutil.copytree(checkpoint.latest(whole), tmp_path / "step_1")
    (target / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match=r"checkpoint .*step_1 cannot be read"):
        checkpoint.load(target)


@pytest.mark.parametrize("name", FILES)
def test_the_newest_checkpoint_that_is_whole_is_gone_on_with(
    start: Start, whole: Path, tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for newest in checkpoint.newest_first(run)[:2]:
        damage(newest / name, "one bit", 3, tmp_path / "sentinel")
    child = start(*TINY, f"hydra.run.dir={run}", "resume=auto")
    assert child.wait() == 0, child.text
    for step in (12, 10):
        assert f"step_{step:08d}" in child.text and "set aside" in child.text
        assert (run / "checkpoints" / f"damaged_step_{step:08d}" / "model.safetensors").exists()  # never deleted
    assert "at step 8" in child.text
    assert_equal(run, whole)


def test_without_any_whole_checkpoint_nothing_is_started_anew(start: Start, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = (run / "metrics.jsonl").read_bytes()
    for path in checkpoint.newest_first(run):
        damage(path / "state.json", "cut", 1, tmp_path / "sentinel")
    child = start(*TINY, f"hydra.run.dir={run}", "resume=auto")
    assert child.wait() == 1
    assert child.plain and "step_" in child.text.splitlines()[-1]
    assert (run / "metrics.jsonl").read_bytes() == before
    exactly = start(f"resume={run / 'checkpoints' / 'best'}")  # exactly that one, and it is whole
    assert exactly.wait() == 0, exactly.text


def test_a_torn_last_row_goes_without_a_word(start: Start, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "torn"))
    rows = run / "metrics.jsonl"
    rows.write_bytes(rows.read_bytes()[:-9])
    child = start(*TINY, f"hydra.run.dir={run}", "resume=auto")
    assert child.wait() == 0, child.text
    assert "metrics.jsonl" not in child.text
    assert_equal(run, whole)


@pytest.mark.parametrize("how", ["cut", "emptied", "random", "gone", "pickle", "a wild row", "a digit of the last row"])
def test_rows_that_are_lost_are_told_and_their_file_is_kept(
    start: Start, whole: Path, tmp_path: Path, how: str
) -> None:
    """They are the record of truth: every row up to the checkpoint is accounted for."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    rows = run / "metrics.jsonl"
    kept = [line for line in rows.read_bytes().splitlines(keepends=True) if b"summary" not in line]
    if how == "a wild row":
        kept[0] = b"\xff\x00" + kept[0][2:]
        rows.write_bytes(b"".join(kept))
    elif how == "a digit of the last row":
        kept[-1] = (json.dumps(json.loads(kept[-1]) | {"train/loss": 1.0}) + "\n").encode()
        rows.write_bytes(b"".join(kept))
    else:
        damage(rows, how, 1, tmp_path / "sentinel")
    before = rows.read_bytes() if rows.exists() else b""
    child = start(*TINY, f"hydra.run.dir={run}", "resume=auto")
    assert child.wait() == 0, child.text
    (said,) = (line for line in child.text.splitlines() if "metrics.jsonl does not hold the 12 rows" in line)
    if how == "gone":
        assert "it is gone" in said
    elif how in ("a digit of the last row", "emptied"):  # nothing in it would be lost
        assert "those that it has go on" in said
    else:
        assert "damaged_metrics.jsonl" in said
        assert (run / "damaged_metrics.jsonl").read_bytes() == before
    again = start(*TINY, f"hydra.run.dir={run}", "resume=auto", "trainer.steps=14")
    assert again.wait() == 0, again.text
    assert "those that it has go on" in again.text  # for as long as no checkpoint has been saved since
    last = start(*TINY, f"hydra.run.dir={run}", "resume=auto", "trainer.steps=14")
    assert last.wait() == 0, last.text
    assert "does not hold" not in last.text


READ = (  # of a run's files, those that somebody reads
    ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "metrics.jsonl", "result.json", "bound/step_00000012.csv",
    "bound/step_00000012.npz", "bound/step_00000012-clipped.npz", "bound/step_00000012-fit.csv", "bound/step_00000012-fit.json",
    "bound/val_step_00000012.csv", "checkpoints/step_00000012/state.json", "checkpoints/step_00000012/ema.safetensors",
)  # fmt: skip
TASKS = ("resume", "evaluate", "compare", "report")
LONG = bool(int(os.environ.get("DIFFLAB_LONG_FAULTS", "0")))
CASES = [  # a pickle in place of each file for each task, and one of the other kinds of damage (all, in the long sweep)
    (task, name, how)
    for i, name in enumerate(READ)
    for j, task in enumerate(TASKS)
    for how in (DAMAGE if LONG else ("pickle", DAMAGE[(i + j) % 5]))
]


@pytest.mark.parametrize("task, name, how", CASES)
def test_damage_to_any_file_of_a_run_runs_no_code_and_is_told_in_a_sentence(
    start: Start, whole: Path, tmp_path: Path, task: str, name: str, how: str
) -> None:
    run, sentinel = Path(shutil.copytree(whole, tmp_path / "run")), tmp_path / "sentinel"
    damage(run / name, how, 7, sentinel)
    if how == "pickle" and name.endswith(".npz"):
        import numpy as np

        np.savez(run / name, nats=np.array([Sentinel(sentinel)], dtype=object))
    out = f"hydra.run.dir={tmp_path / 'out'}"
    command = {
        "resume": [f"resume={run}"], "evaluate": ["task=evaluate", f"run={run}"],
        "compare": ["task=compare", "tracker=none", f"runs=[{run},{whole}]", out], "report": ["task=report", f"runs=[{run},{whole}]", out],
    }[task]  # fmt: skip
    child = start(*command)
    code = child.wait()
    assert not sentinel.exists()
    assert child.plain
    assert code in (0, 1)
    if code:
        named = Path(name).parent if "checkpoints" in name else Path(name).with_suffix("")
        assert named.name in child.text.splitlines()[-1], child.text


# -- disks ------------------------------------------------------------------------------------------------------------


def test_a_file_that_may_not_grow_ends_the_run_in_a_sentence_and_leaves_what_was_saved(
    start: Start, whole: Path, tmp_path: Path
) -> None:
    """RLIMIT_FSIZE below the size of the weights' file: no checkpoint can be written, and none is half there."""
    run, size = tmp_path / "run", (checkpoint.latest(whole) / "tensors.safetensors").stat().st_size
    child = start(*TINY, f"hydra.run.dir={run}", before="tests.faults.hooks:small_files", given=size - 1)
    assert child.wait() == 1
    last = child.text.splitlines()[-1]
    assert "File too large" in last and "make room" in last and child.plain
    assert checkpoint.newest_first(run) == [] and not list((run / "checkpoints").glob(".*"))
    again = start(*TINY, f"hydra.run.dir={run}", "resume=auto")
    assert again.wait() == 0, again.text
    assert_equal(run, whole)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_leaves_older_checkpoints_and_the_run_goes_on_once_there_is_room(
    start: Start, whole: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    one = sum(file.stat().st_size for file in checkpoint.latest(whole).iterdir())
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(4.5 * one)}", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        command = [*TINY, "checkpoint.keep_last=9", f"hydra.run.dir={disk / 'run'}", "resume=auto"]
        child = start(*command)
        assert child.wait() == 1
        assert "No space left on device" in child.text.splitlines()[-1] and child.plain
        saved = checkpoint.newest_first(disk / "run")
        assert saved
        for path in saved:
            checkpoint.load(path)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = start(*command)
        assert again.wait() == 0, again.text
        assert_equal(disk / "run", whole)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk")
def test_a_read_only_place_is_refused_before_anything_is_done(start: Start, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(disk)], check=False).returncode:
        pytest.skip("may not mount")
    try:
        child = start(*TINY, f"hydra.run.dir={disk / 'run'}")
        assert child.wait() == 1
        assert child.text.count("\n") == 1
        assert f"hydra.run.dir={disk / 'run'} cannot be used (read-only file system)" in child.text
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_checkpoint_with_a_number_that_is_not_finite_is_not_written(whole: Path, tmp_path: Path) -> None:
    for part in ("model", "ema", "meter"):
        state = checkpoint.load(checkpoint.latest(whole))
        name = next(iter(state[part]))
        state[part][name].view(-1)[0] = float("inf")
        with pytest.raises(FloatingPointError, match=f"^{part}/{name}".replace(".", r"\.")):
            checkpoint.save(tmp_path / "step_00000001", state)
        assert not list(tmp_path.iterdir())


def test_the_manifest_names_every_file(whole: Path) -> None:
    directory = checkpoint.latest(whole)
    assert {*json.loads((directory / "manifest.json").read_text()), "manifest.json"} == {
        file.name for file in directory.iterdir()
    }
