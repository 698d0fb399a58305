"""Examples in the device's memory or read ahead by processes: the same steps, also after a resume; nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from difflab.errors import ConfigError
from difflab.train import checkpoint, loader
from difflab.train.loader import Order, Resident, Streamed, source_of
from tests.train.test_trainer import DATA, flat, trainer, until

CPU = torch.device("cpu")


@dataclass
class Far:
    """Examples that are read, not held, as far as a loader can tell; `broken` cannot be read."""

    x: Tensor
    broken: int = -1
    seconds: float = 0.0

    @property
    def shape(self) -> torch.Size:
        return self.x.shape

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> Tensor:
        time.sleep(self.seconds)
        if (rows == self.broken).any():
            raise ConfigError(f"example {self.broken} cannot be read.")
        return self.x[rows]


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def weights(run: Any) -> dict[str, Tensor]:
    return flat({key: value for key, value in run.state_dict().items() if key != "seconds"})


# -- the order ------------------------------------------------------------------------------------------------------


def test_every_epoch_visits_every_example_once():
    order = Order(50, 16, seed=1)
    epochs = torch.cat([order(step) for step in range(1, 51)]).reshape(16, 50)  # 50 steps of 16 = 16 epochs of 50
    assert torch.equal(epochs.sort(1).values, torch.arange(50).expand(16, 50))
    assert len({tuple(e.tolist()) for e in epochs}) == 16


def test_the_order_of_a_seed_is_kept_for_good():
    """Runs that are resumed with a later version read on where they stopped."""
    assert Order(50, 6, seed=1)(9).tolist() == [12, 7, 13, 47, 12, 43]  # two of one epoch, four of the next


def test_a_batch_larger_than_the_data_takes_several_epochs():
    assert torch.bincount(Order(50, 120, seed=1)(1)).tolist().count(2) == 30  # 120 = 50 + 50 + 20


def test_ranks_share_a_batch_in_order():
    whole = Order(50, 16, seed=1)
    parts = [Order(50, 16, 1, rows) for rows in (slice(0, 6), slice(6, 11), slice(11, 16))]
    for step in (1, 4, 20):
        assert torch.equal(torch.cat([part(step) for part in parts]), whole(step))


# -- the same steps from either -------------------------------------------------------------------------------------


def test_where_examples_lie_decides_and_one_can_ask_for_processes(monkeypatch):
    order = Order(50, 16, seed=1)
    assert isinstance(source_of(DATA, order, None, CPU), Resident)
    far = source_of(Far(DATA), order, None, CPU)
    assert isinstance(far, Streamed) and 1 <= far.workers <= 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6), raising=False)
    for ranks, workers in ((1, 4), (2, 3), (12, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        assert source_of(Far(DATA), order, None, CPU).workers == workers  # type: ignore[attr-defined]
    asked = source_of(Far(DATA), order, 0, CPU)
    assert isinstance(asked, Streamed) and asked.workers == 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * DATA.nbytes, 10**12))
    assert loader.has_room(DATA, torch.device("cuda")) and not loader.has_room(DATA.repeat(2, 1), torch.device("cuda"))
    monkeypatch.setattr(loader, "has_room", lambda x, device: False)
    held = source_of(DATA, order, None, CPU)
    assert isinstance(held, Streamed) and held.workers == 0  # in this machine's memory: nothing to read


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_gives_the_same_weights_from_memory_and_from_a_loader(workers):
    """With dropout (torch's global generator is the step's own) and importance sampling's history."""
    resident, streamed = trainer(), trainer(x=Far(DATA), workers=workers)
    assert isinstance(resident.source, Resident) and isinstance(streamed.source, Streamed)
    for run in (resident, streamed):
        run.run(lambda row: None)
    a, b = weights(resident), weights(streamed)
    assert a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("stop", [1, 13])
def test_a_run_that_is_resumed_with_processes_reads_on_exactly(tmp_path: Path, stop):
    """In mid-epoch: what they had read ahead when the run stopped is read again."""
    whole = trainer()
    whole.run(lambda row: None)
    first = trainer(x=Far(DATA), workers=2)
    on_step = until(stop, [])
    with pytest.raises(on_step.reached):  # type: ignore[attr-defined]
        first.run(on_step)
    assert multiprocessing.active_children() == []  # interrupted: none is left
    directory = checkpoint.save(tmp_path / "step_00000001", first.state_dict())
    second = trainer(x=Far(DATA), workers=2)
    second.load_state_dict(checkpoint.load(directory))
    second.run(lambda row: None)
    a, b = weights(whole), weights(second)
    assert all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_step_out_of_turn_gets_its_own_examples(workers):
    order = Order(50, 16, seed=1)
    source = Streamed(Far(DATA), order, workers, CPU)
    for step in (3, 4, 9, 2, 3):
        assert torch.equal(source.batch(step), DATA[order(step)])
    source.close()
    assert torch.equal(source.batch(4), DATA[order(4)])  # and after it was closed
    source.close()


# -- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_an_example_that_cannot_be_read_ends_the_run_at_its_step_in_its_own_words(workers):
    order = Order(50, 16, seed=1)
    broken = int(order(3)[5])
    source = Streamed(Far(DATA, broken), order, workers, CPU)
    steps = [step for step in range(1, 4) if broken not in order(step)]
    assert steps == [1, 2]
    for step in steps:
        source.batch(step)
    with pytest.raises(ConfigError, match=f"^example {broken} cannot be read.$"):
        source.batch(3)
    assert multiprocessing.active_children() == []


def test_a_killed_process_ends_the_run_in_one_sentence():
    source = Streamed(Far(DATA), Order(50, 16, seed=1), 2, CPU)
    source.batch(1)
    first, second = multiprocessing.active_children()
    os.kill(first.pid or 0, signal.SIGKILL)
    time.sleep(0.5)  # whatever the run does meanwhile, a checkpoint for instance, is not broken off
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=r"^trainer\.workers=2: a process that read examples has died .* the run\.$"):
        list(map(source.batch, range(2, 30)))
    assert time.perf_counter() - started < 20
    second.join(10)
    assert second.exitcode is not None


def test_a_signal_to_all_processes_of_a_run_does_not_end_those_that_read():
    """Nor if this process has computed on several threads before, whose pool torch makes anew in them."""
    size = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.ones(1 << 20).sqrt().sum()
    torch.set_num_threads(size)
    order = Order(50, 16, seed=1)
    source = Streamed(Far(DATA), order, 2, CPU)
    source.batch(1)
    children = multiprocessing.active_children()
    time.sleep(0.2)
    for child in children:
        for number in (signal.SIGINT, signal.SIGTERM):
            subprocess.run(["kill", f"-{int(number)}", str(child.pid)], check=True)  # from another process
    for step in range(2, 30):
        assert torch.equal(source.batch(step), DATA[order(step)])
    assert all(child.is_alive() for child in children)
    children[0].terminate()  # from the run itself
    children[0].join(5)
    assert children[0].exitcode == 0
    source.close()


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="blocks signals")
def test_a_signal_while_the_processes_start_does_not_end_them():
    """Whatever reaches them before they have said what they do with it waits until they have."""
    order = Order(50, 16, seed=1)
    for number in (signal.SIGINT, signal.SIGTERM):
        source = Streamed(Far(DATA), order, 2, CPU)
        batches = source._from(1)
        for child in multiprocessing.active_children():
            subprocess.run(["kill", f"-{int(number)}", str(child.pid)], check=True)
        assert [torch.equal(next(batches), DATA[order(step)]) for step in range(1, 9)] == [True] * 8
        del batches
        source.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM} == set()


SCRIPT = """
import os, sys, time, multiprocessing, torch
from difflab.train.loader import Order, Streamed
from tests.train.test_loader import Far
source = Streamed(Far(torch.zeros(50, 2), seconds=0.2), Order(50, 16, 1), 2, torch.device("cpu"))
source.batch(1)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
if sys.argv[1] == "raise":
    raise SystemExit(143)
if sys.argv[1] == "wait":
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc which processes live")
@pytest.mark.parametrize("ends", ["return", "raise", "wait"])
def test_no_process_outlives_the_run_however_it_ends(ends):
    with subprocess.Popen([sys.executable, "-c", SCRIPT, ends], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        children = [int(word) for word in run.stdout.readline().split()]
        assert len(children) == 2
        if ends == "wait":
            assert all(alive(child) for child in children)
            run.kill()
        run.wait(30)
    deadline = time.monotonic() + 15
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(child) for child in children)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
