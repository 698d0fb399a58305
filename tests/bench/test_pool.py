"""Processes that take turns: what is asked, what is answered, who is left out."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from difflab.bench import pool
from difflab.bench.lineup import Entry
from difflab.bench.pool import Failed, Pool, Worker, alone
from difflab.bench.work import Work

STYLE = Entry("style", "improved_style:ImprovedStyle", False)
TINY = Work("bound", 2, (1, 8, 8))


def quiet(line: str) -> None: ...


def test_a_process_prepares_measures_and_says_what_it_cannot() -> None:
    """A real one: blocks as long as asked, an error that leaves it usable, an end with its input."""
    with closing(Worker(STYLE)) as worker:
        about = worker.ask("prepare", kind="bound", batch=2, shape=[1, 8, 8], seconds=0.1)
        assert about["precision"] == "fp32"
        assert about["gflop"] > 0
        block = worker.ask("block")
        assert block["units"] > 2  # several evaluations of a batch of 2
        assert block["seconds"] > 0.03
        with pytest.raises(Failed, match="no_such_kind"):
            worker.ask("prepare", kind="no_such_kind", batch=2, shape=[1, 8, 8], seconds=0.1)
        assert worker.ask("prepare", kind="train", batch=2, shape=[1, 8, 8], seconds=0)["precision"] == "fp32"
        process = worker._process
    assert process.poll() == 0


def test_a_process_that_ends_is_a_sentence() -> None:
    broken = Entry("broken", "improved_style:NoSuchClass", False)
    with pytest.raises(Failed, match="NoSuchClass"):
        alone(broken, "describe")


def test_a_process_that_is_killed_ends_neither_the_suite_nor_its_end() -> None:
    """As the kernel does where memory is short; what was written to it is still in the pipe's buffer."""
    with closing(Worker(Entry("killed", "improved_style:ImprovedStyle", False))) as worker:
        worker._process.kill()
        worker._process.wait()
        with pytest.raises(Failed, match="its process ended"):
            worker.ask("describe")


class Scripted:
    """A worker that computes nothing: its log says in which order all of them were asked."""

    log: list[tuple[str, str]] = []  # noqa: RUF012
    dies: set[str] = set()  # noqa: RUF012

    def __init__(self, entry: Entry) -> None:
        self.entry, self.idle_share, self.blocks = entry, 0.0, 0

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        self.log.append((self.entry.name, command))
        if command == "prepare":
            return {"gflop": 1.0, "parameters": 1, "precision": "fp32"}
        self.blocks += 1
        if self.entry.name in self.dies and self.blocks == 2:
            raise Failed("out of memory")
        return {"units": 10, "seconds": 2.0, "idle_seconds": 0.0}

    def close(self) -> None:
        self.log.append((self.entry.name, "close"))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr(pool, "Worker", Scripted)
    monkeypatch.setattr(Scripted, "log", [])
    monkeypatch.setattr(Scripted, "dies", set())
    return Scripted


def entry(name: str, needs: str | None = None) -> Entry:
    return Entry(name, "improved_style:ImprovedStyle", False, needs)


def test_rounds_are_interleaved_and_nobody_always_begins(scripted: type[Scripted]) -> None:
    with closing(Pool([entry("a"), entry("b"), entry("c")])) as running:
        rows = running.measure(TINY, rounds=3, seconds=0.5, say=quiet)
    order = "".join(name for name, command in scripted.log if command == "block")
    assert order == "abcbcacab"
    assert [len(row["samples"]) for row in rows.values()] == [3, 3, 3]
    assert rows["a, as shipped"]["samples"][0] == {"units": 10, "seconds": 2.0}
    assert [command for _, command in scripted.log[-3:]] == ["close"] * 3


def test_a_missing_package_is_a_row_that_says_how_to_get_it(scripted: type[Scripted]) -> None:
    running = Pool([entry("here"), entry("gone", needs="no_package_of_this_name")])
    rows = running.measure(TINY, rounds=1, seconds=0.5, say=quiet)
    assert rows["gone, as shipped"] == {"error": "not installed: pip install difflab[bench]"}
    assert rows["here, as shipped"]["samples"]
    assert "gone" not in {name for name, _ in scripted.log}


def test_who_fails_midway_is_left_out_and_the_others_go_on(scripted: type[Scripted]) -> None:
    scripted.dies.add("b")
    rows = Pool([entry("a"), entry("b")]).measure(TINY, rounds=3, seconds=0.5, say=quiet)
    assert rows["b, as shipped"] == {"error": "out of memory"}
    assert len(rows["a, as shipped"]["samples"]) == 3


def test_only_some_are_measured(scripted: type[Scripted]) -> None:
    rows = Pool([entry("a"), entry("b")]).measure(TINY, 1, 0.5, quiet, lambda entry: entry.name == "b")
    assert list(rows) == ["b, as shipped"]
