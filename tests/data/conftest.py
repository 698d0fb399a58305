from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from difflab.build import build
from difflab.data.base import Data

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture
def make() -> Callable[..., Data]:
    """make(name, **changes): the data set of conf/data/<name>.yaml with some values changed."""

    def make(name: str, **changes) -> Data:
        node = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text())
        node.pop("defaults")
        assert set(changes) <= set(node), "a test changes a key that the YAML does not have"
        return build("data", node | changes)

    return make


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """An empty world: nothing in the home, in the working directory, in variables."""
    monkeypatch.delenv("DIFFLAB_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
