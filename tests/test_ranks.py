"""Two processes of torchrun (gloo) are one run: the same weights, history, ledger and files as one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from difflab.assemble import choose_device
from difflab.cli import main
from difflab.errors import ConfigError
from difflab.ranks import Ranks, current, joined
from difflab.task import evaluate, train
from difflab.train import checkpoint
from difflab.train.metrics import read
from difflab.train.signals import Stop
from tests.test_combinations import config_of

TINY = [
    "model.channels=16", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16", "schedule.T=30", "trainer.steps=12",
    "trainer.batch_size=17", "trainer.accumulate=2", "trainer.log_every=3", "trainer.val_every=6", "trainer.precision=fp32",
    "timestep.history=2", "checkpoint.every=6", "checkpoint.keep_last=9", "bound.examples=20", "bound.times=8", "bound.exact_steps=3",
    "validation.examples=6", "preview.steps=2", "preview.count=4", "sampler.steps=5", "sampler.count=4", "fit.examples=20",
    "chains.verify=[4]", "chains.examples=10", "model.num_classes=auto", "trainer.label_dropout=0.2",
]  # fmt: skip
DESIGN = [
    "bound=importance",
    "bound.examples=300",
    "bound.target_se=0.135",  # reached after the third of four batches, of which two are made at a time
    "bound.pilot_examples=4",
    "bound.pilot_times=8",
]
DESIGN += ["bound.batch_size=96"]


def torchrun(*overrides: str, program: Sequence[str] = ("-m", "difflab")) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return subprocess.Popen(
        [*command, *overrides], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def ranks_of(process: subprocess.Popen[str]) -> dict[str, int]:
    """{rank: pid}"""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    return {Path(f"/proc/{pid}/environ").read_bytes().split(b"\0RANK=")[1][:1].decode(): int(pid) for pid in children}


def wait_for(process: subprocess.Popen[str], file: Callable[[], Iterable[Path]]) -> None:
    """Until some file of those has something in it."""
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in file() if path.exists()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def done(process: subprocess.Popen[str]) -> str:
    """What it printed."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    return out


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ranks") / "pair"
    out = done(torchrun(*TINY, f"hydra.run.dir={directory}"))
    assert out.count("L         bound") == 1  # one voice
    return directory


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ranks") / "alone"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train.run(config_of([*TINY, "tracker=none"]), directory)
    finally:
        torch.set_num_threads(threads)
    return directory


def state(run: Path, step: int = 12) -> dict[str, Any]:
    return checkpoint.load(run / "checkpoints" / f"step_{step:08d}")


def test_parts_cover_the_whole_in_order() -> None:
    for count in (1, 7, 8, 17):
        parts = [Ranks(rank, 3).part(count) for rank in range(3)]
        assert [i for part in parts for i in range(count)[part]] == list(range(count))
        assert max(p.stop - p.start for p in parts) - min(p.stop - p.start for p in parts) <= 1
    assert current() == Ranks(0, 1)
    assert Ranks().gather_parts(torch.arange(3), 3).tolist() == [0, 1, 2]


def test_two_processes_train_as_one_does(pair: Path, alone: Path) -> None:
    """9 and 8 of 17 examples, two micro-batches each. Gradients are added in another order: 1e-5 of the weights' size after
    12 steps of Adam (seen: 1e-6), where a wrong scale or a wrong row would show as 1e-2."""
    two, one = state(pair), state(alone)
    for name, weights in one["model"].items():
        scale = float(weights.abs().max())
        torch.testing.assert_close(two["model"][name], weights, rtol=0, atol=1e-5 * scale, msg=name)
        torch.testing.assert_close(two["ema"][name], one["ema"][name], rtol=0, atol=1e-5 * scale)
    assert torch.equal(two["timestep"]["count"], one["timestep"]["count"])
    torch.testing.assert_close(two["timestep"]["losses"], one["timestep"]["losses"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(two["meter"]["per_t"], one["meter"]["per_t"], rtol=1e-4, atol=1e-6)
    assert two["step"] == 12


def test_they_leave_one_run(pair: Path, alone: Path) -> None:
    rows = [read(run / "metrics.jsonl") for run in (pair, alone)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]] == [3, 6, 9, 12, 12]
    for two, one in zip(*rows, strict=True):
        assert two.keys() == one.keys()
        for key in ("train/bpd", "train/loss", "train/grad_norm", "val/bpd"):
            if key in one:
                assert two[key] == pytest.approx(one[key], rel=1e-4)
    assert len(list((pair / "wandb").glob("offline-run-*"))) == 1
    result = json.loads((pair / "result.json").read_text())
    assert result["compute"]["ranks"] == 2 and result["condition"] == "label"
    ours = {path.relative_to(pair).parts[0] for path in pair.iterdir()} - {"wandb", ".hydra", "difflab.log"}
    assert ours == {path.relative_to(alone).parts[0] for path in alone.iterdir()}
    assert [run.name for run in pair.parent.iterdir()] == ["pair"]  # no second directory beside it


def test_an_evaluation_by_two_has_the_identical_ledger(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pilot, a target that stops in mid-split, the fit, a chain: every file, byte for byte, and every count."""
    done(torchrun("task=evaluate", f"run={pair}", *DESIGN))
    files = {path: path.read_bytes() for path in (pair / "bound").glob("*importance*.csv")}
    together = json.loads(next((pair / "bound").glob("*importance*.json")).read_text())
    assert len(files) >= 8
    for path in (pair / "bound").glob("*importance*"):
        path.unlink()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        keep = [line for line in TINY if not line.startswith("bound.")]
        result = evaluate.run(config_of([*keep, *DESIGN, f"run={pair}"]), pair)
    finally:
        torch.set_num_threads(threads)
    assert {path: path.read_bytes() for path in files} == files
    assert result["nfe"] == together["nfe"] == 288
    assert result["bpd"] == together["bpd"]


def test_two_go_on_exactly_where_two_were_interrupted(pair: Path, tmp_path: Path) -> None:
    """From the checkpoint of step 6 to the bit, by the same command line with resume=auto."""
    again = tmp_path / "again"
    (again / "checkpoints").mkdir(parents=True)
    (pair / "checkpoints" / "step_00000006").rename(again / "checkpoints" / "step_00000006")
    done(torchrun(*TINY, f"hydra.run.dir={again}", "resume=auto"))
    before, after = state(pair), state(again)
    for name in before["model"]:
        assert torch.equal(before["model"][name], after["model"][name])
        assert torch.equal(before["ema"][name], after["ema"][name])
    assert torch.equal(before["timestep"]["losses"], after["timestep"]["losses"])


SLOW_SAVES = """
import sys, time
from difflab.cli import main
from difflab.train import checkpoint
save = checkpoint.save
checkpoint.save = lambda *given: (time.sleep(4), save(*given))
sys.exit(main())
"""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_signal_to_one_stops_both_after_the_same_step_with_one_checkpoint(tmp_path: Path, rank: str) -> None:
    """Even if saving takes long: torchrun hands the signal on, and nobody ends before it is saved."""
    run, program = tmp_path / "run", tmp_path / "slow.py"
    program.write_text(SLOW_SAVES)
    without = ["tracker=none", "trainer.steps=100000", "trainer.val_every=0", "checkpoint.every=0"]
    process = torchrun(*TINY, *without, f"hydra.run.dir={run}", program=[str(program)])
    wait_for(process, lambda: [run / "metrics.jsonl"])
    os.kill(ranks_of(process)[rank], signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    saved = checkpoint.newest_first(run)
    assert len(saved) == 1
    step = int(saved[0].name.removeprefix("step_"))
    assert state(run, step)["step"] == step > 3
    assert not list(run.glob("result.json"))
    assert "exitcode  : 143" in err
    assert "Gloo" not in err and "connection" not in err.lower()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_rank_that_dies_ends_both_and_the_run_goes_on_from_the_last_checkpoint(
    pair: Path, tmp_path: Path, rank: str
) -> None:
    run = tmp_path / "run"
    process = torchrun(*TINY, "tracker=none", "debug.slow_step=0.5", f"hydra.run.dir={run}")
    wait_for(process, lambda: [run / "checkpoints" / "step_00000006" / "manifest.json"])
    started = time.monotonic()
    os.kill(ranks_of(process)[rank], signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert time.monotonic() - started < 60
    assert [path.name for path in checkpoint.newest_first(run)] == ["step_00000006"]
    done(torchrun(*TINY, "tracker=none", f"hydra.run.dir={run}", "resume=auto"))
    for name, weights in state(pair)["model"].items():
        assert torch.equal(state(run)["model"][name], weights), name


def test_an_evaluation_that_one_is_told_to_stop_goes_on_from_there(pair: Path) -> None:
    command = [
        "task=evaluate",
        f"run={pair}",
        "bound=exhaustive",
        "bound.examples=200",
        "bound.batch_size=8",
        "bound.seed=5",
    ]
    process = torchrun(*command)
    wait_for(process, lambda: (pair / "bound").glob(".*exhaustive*.rows"))
    os.kill(ranks_of(process)["1"], signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert "stopped; what was evaluated is kept" in err
    assert "exitcode  : 143" in err
    assert "Gloo" not in err and "connection" not in err.lower()
    assert not list((pair / "bound").glob("step*exhaustive*.json"))
    done(torchrun(*command))
    result = json.loads(next((pair / "bound").glob("step*exhaustive*.json")).read_text())
    assert result["nfe"] == 200 * 30


TRACED = """
import sys, torch
from difflab.cli import main
compiles = torch.compile
torch.compile = lambda model, mode, dynamic: compiles(model, backend="aot_eager", dynamic=dynamic)
sys.exit(main())
"""


def test_compiled_networks_of_two_take_the_same_steps(pair: Path, tmp_path: Path) -> None:
    """torch's own tracer without code generation; as above, 1e-5 of the weights' size, since it cuts some kernels in two."""
    run, program = tmp_path / "run", tmp_path / "traced.py"
    program.write_text(TRACED)
    process = torchrun(*TINY, "trainer.compile=default", "tracker=none", f"hydra.run.dir={run}", program=[str(program)])
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    assert "compiled in" in err
    assert json.loads((run / "result.json").read_text())["compute"]["compile"] == "default"
    for name, weights in state(pair)["model"].items():
        scale = float(weights.abs().max())
        torch.testing.assert_close(state(run)["model"][name], weights, rtol=0, atol=1e-5 * scale, msg=name)


def test_a_refusal_is_told_once(tmp_path: Path) -> None:
    process = torchrun("schedule=cosin", f"hydra.run.dir={tmp_path / 'run'}")
    _, err = process.communicate(timeout=120)
    assert err.count("there is no such option") == 1


def test_a_rank_without_a_world_has_a_voice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that a scheduler or a notebook left behind silences nobody."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert main(["schedule=cosin"]) == 1
    assert "there is no such option" in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(
            ConfigError, match="started 2 processes here, and there are 1 GPUs: give --nproc_per_node=1"
        ):
            joined().__enter__()
    monkeypatch.setattr("difflab.ranks.current", lambda: Ranks(1, 2))
    with pytest.raises(ConfigError, match="device=cuda:0 is one GPU"):
        choose_device("cuda:0")


def test_what_torchrun_cannot_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "seed=0,1", "debug=smoke"]) == 1
    assert "a sweep runs in one process, and torchrun has started 2" in capsys.readouterr().err
    assert main(["task=report", "runs=[a]"]) == 1
    assert "task=report runs in one process" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_signal_that_another_rank_has_got_is_not_a_second_one() -> None:
    """Else the real one, a moment later, would end the process while it saves."""

    class Told(Ranks):
        def largest(self, value: float) -> float:
            return max(value, signal.SIGTERM)

    with Stop() as stop:
        stop.agree(Told())
        assert stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        with pytest.raises(SystemExit, match="143"):
            stop.check()


def test_torchrun_hands_a_signal_on_and_so_each_process_gets_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difflab.train.signals.current", lambda: Ranks(0, 2))
    with Stop() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert stop.signal == signal.SIGTERM
    monkeypatch.setattr("difflab.train.signals.current", Ranks)
    with Stop() as alone:
        alone.signal = signal.SIGTERM
        with pytest.raises(SystemExit, match="143"):
            alone._handle(signal.SIGTERM, None)
