from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.runs import TINY
from tests.faults.server import Child, Server

Start = Callable[..., Child]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m faults` runs these alone, `-m "not faults"` leaves them out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with closing(Server()) as running:
        yield running


@pytest.fixture
def start(server: Server, tmp_path: Path) -> Iterator[Start]:
    """Start `difflab` with overrides; whatever still runs at the end of the test is killed."""
    children: list[Child] = []
    numbers = itertools.count()

    def run(*overrides: str, **more: Any) -> Child:
        children.append(server.run(overrides, tmp_path / f"log-{next(numbers)}.txt", **more))
        return children[-1]

    yield run
    for child in children:
        if child.code is None:
            child.kill()
            child.wait()


@pytest.fixture(scope="session")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    child = server.run([*TINY, f"hydra.run.dir={directory}"], directory.with_name("log.txt"))
    assert child.wait() == 0, child.text
    return directory
