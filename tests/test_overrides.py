"""Any command line at all: it is composed, or refused in one sentence that names what is wrong; never a traceback, never
a directory left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as some

from difflab.assemble import assemble
from difflab.bound.base import Design
from difflab.cli import main
from difflab.config.compose import composer, plain, quoted
from difflab.config.schema import conf_directory, load_schema
from difflab.errors import ConfigError
from difflab.job import checked
from difflab.train.trainer import Settings, Trainer

LONG = int(os.environ.get("DIFFLAB_LONG_FAULTS", "0"))
drawn = settings(  # the same lines every time, other ones in the long sweep
    max_examples=LONG * 100 + 60,
    derandomize=not LONG,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SCHEMA = load_schema()
GROUPS = {package: sorted(SCHEMA.options[group]) for package, group in SCHEMA.packages.items()}
OWN = ("run", "runs", "resume", "init", "plugins", "hydra", "task", "tracker", "choices")  # of files and directories


def leaves(node: Any, path: str = "") -> Iterator[str]:
    for key, value in node.items():
        place = f"{path}.{key}" if path else str(key)
        yield from leaves(value, place) if isinstance(value, dict) else [place]


with composer(conf_directory(), SCHEMA) as _composing:
    KEYS = [key for key in leaves(plain(_composing.compose([]))) if key.split(".")[0] not in OWN]

number = some.one_of(
    some.integers(-3, 40), some.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, -0.5, 0.5, 1e-300, 1e300])
)
scalar = some.one_of(
    number,
    some.booleans(),
    some.none(),
    some.text(max_size=6),
    some.sampled_from(["auto", "", "null", "1e3", "${seed}"]),
)
value = some.one_of(
    scalar, some.lists(scalar, max_size=3), some.dictionaries(some.text(max_size=3), scalar, max_size=2)
)
group_choice = some.sampled_from(sorted(GROUPS)).flatmap(
    lambda group: some.sampled_from([*GROUPS[group], "nothing", ""]).map(lambda option: f"{group}={option}")
)
typed = some.builds(
    lambda key, mark, x: f"{mark}{key}={quoted(x)}",
    some.sampled_from(KEYS),
    some.sampled_from(["", "", "", "+", "++"]),
    value,
)
mistyped = some.builds(
    lambda key, at, x: f"{key[:at]}{key[at + 1 :]}={x}", some.sampled_from(KEYS), some.integers(0, 12), number
)
wild = some.one_of(
    some.text(max_size=20), some.builds(lambda key, x: f"{key}={x}", some.sampled_from(KEYS), some.text(max_size=8))
)
line = some.one_of(group_choice, typed, mistyped, wild)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before, directory = Path.cwd(), tmp_path_factory.mktemp("empty")
    os.chdir(directory)
    yield directory
    os.chdir(before)


@drawn
@given(some.lists(line, max_size=4))
@example(["trainer.steps="])
@example(["schedule.T={a:1"])
@example(["model.channel_mult=[1,2"])
@example(["~schedule"])
@example(["=3"])
@example(["trainer.steps=1,2"])
@example(["hydra.run.dir="])
@example(["\x00"])
@example(["0\r"])
@example(["trainer.steps=\x1b[2J\u2028"])
def test_any_command_line_is_composed_or_refused_in_a_sentence(empty: Path, lines: list[str]) -> None:
    out, err = StringIO(), StringIO()
    lines = [text for text in lines if not text.startswith(("-", "hydra", "run", "resume", "init"))]
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["--cfg", "job", *lines])
    said = err.getvalue()
    assert code in (0, 1)
    assert bool(said.strip()) == bool(code), said
    assert "Traceback" not in said and "HYDRA_FULL_ERROR" not in said, said
    if code:
        assert len(said.strip().splitlines()) == 1, said
    assert not list(empty.iterdir())


@drawn
@given(some.lists(some.one_of(typed, group_choice), min_size=1, max_size=3))
def test_what_is_composed_is_built_or_refused_in_a_sentence(empty: Path, lines: list[str]) -> None:
    """Ranges and pairs that only the parts can judge: no other error than the one that users read."""
    assume(not any(text.startswith(("data=mnist", "data=fashion", "data=cifar")) for text in lines))  # would be fetched
    small = ["model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16", "data=digits"]
    from hydra.core.hydra_config import HydraConfig

    try:
        with composer(conf_directory(), SCHEMA) as composing:
            cfg = composing.compose([*small, *lines])
            HydraConfig.instance().set_config(cfg)
            config = checked(cfg, cfg.hydra, ())
        lab = assemble(config)
        rest = Settings(**config["trainer"])
        if lab.diffusion.schedule.T <= 4000 and rest.batch_size <= 512:
            Trainer(
                lab.diffusion, lab.objective, lab.timestep, lab.optimizer, lab.data.train.x, lab.data.to_unit, rest,
                config["seed"], lab.device,
            )  # fmt: skip
        assert isinstance(lab.bound, Design)
    except ConfigError as refused:
        text = str(refused)
        assert text
        assert "\n" not in text
