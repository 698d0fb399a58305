"""What makes --help, --cfg and completion quick, without a clock: nothing is read, composed or copied twice."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from difflab import cli
from difflab.config import schema
from difflab.job import Task


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Counter[str]:
    """How often `owner.name` is called, by its first argument."""
    calls: Counter[str] = Counter()
    original: Callable[..., Any] = getattr(owner, name)

    def count(*args: Any, **kwargs: Any) -> Any:
        calls[str(args[0]) if args else ""] += 1
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, count)
    return calls


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--help", "hydra.verbose=true"], ["--cfg", "job"], ["--cfg", "hydra", "schedule=linear"]],
    ids=" ".join,
)
def test_what_is_shown_is_composed_once(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    composed = counted(monkeypatch, ConfigLoaderImpl, "load_configuration")
    assert cli.main(arguments) == 0
    assert composed.total() == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--help", "schedule=linear", "hydra/help=default", "--resolve"],
        ["--cfg", "job", "data=swiss_roll", "trainer.steps=7"],
        ["--cfg", "hydra", "--resolve", "schedule=linear"],
        ["--cfg", "all", "bound=stratified"],
        ["--cfg", "job", "--package", "model", "model=mlp"],
        ["--cfg", "job", "--package", "seed"],
        ["--cfg", "job", "--package", "nokey"],
        ["--cfg", "job", "--package", "_global_"],
    ],
    ids=" ".join,
)
def test_what_is_shown_is_what_hydra_shows(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(arguments)
    ours = capsys.readouterr()
    try:
        cli._hydra(arguments, Task((), False, []))
        expected = 0
    except SystemExit as stopped:
        expected = stopped.code
    assert (code, ours) == (expected, capsys.readouterr())


def test_each_file_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = counted(monkeypatch, OmegaConf, "load")
    created = counted(monkeypatch, OmegaConf, "create")
    read = schema.load_schema.__wrapped__()
    conf = schema.conf_directory()
    files = [conf / group / f"{option}.yaml" for group in read.options for option in read.options[group]]
    assert loaded == Counter(map(str, [conf / "config.yaml", *files]))
    assert all("\n" not in text for text in created)  # no text is parsed beside the files


def test_the_quick_parser_tells_the_same_as_the_slow_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where PyYAML comes without libyaml, it has no other loader."""
    path = tmp_path / "x.yaml"
    path.write_text(
        "a: ü☃  # int: x\nc: null  # list of str: y\ne: {f: 1, g: []}  # (null: z)\nb: |\n  text # no\n"
        "d:\n- 1\n- 2  # no\nh: several\n  lines  # int: w\ni: null  # float: the end",
        encoding="utf-8",
    )
    quick, fields = schema.load_schema(), schema.read_fields(path)
    monkeypatch.setattr(schema, "NODES", yaml.SafeLoader)
    assert schema.load_schema.__wrapped__() == quick
    assert schema.read_fields(path) == fields
    assert [key for key, field in fields.items() if field.null] == ["c", "e", "i"]
    assert fields["a"].kinds == fields["h"].kinds == {"str", "int"}


def test_completion_reads_no_schema(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "load_schema", lambda: pytest.fail("the schema is for checking"))
    assert cli.main(["-sc", "install=bash"]) == 0
    monkeypatch.setenv("COMP_LINE", "difflab schedule=")
    assert cli.main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out.split()[-2:] == ["schedule=log_linear", "schedule=sigmoid"]


def test_the_one_config_store_is_not_copied_and_not_written_to() -> None:
    store = ConfigStore.instance()
    assert copy.deepcopy({"store": store})["store"] is store
    before = repr(store.repo)
    assert cli.main(["--cfg", "hydra", "hydra.job.name=changed", "hydra/job_logging=disabled"]) == 0
    assert repr(store.repo) == before
