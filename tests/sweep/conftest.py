"""A composer, and questions from text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from difflab.config.compose import Composer, composer
from difflab.config.schema import conf_directory, load_schema
from difflab.job import checked
from difflab.sweep.plan import Plan, plan
from difflab.sweep.question import Question, load

Planned = Callable[..., Plan]


@pytest.fixture
def composing() -> Iterator[Composer]:
    with composer(conf_directory(), load_schema()) as it:
        yield it


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[str], Question]:
    def made(text: str) -> Question:
        path = tmp_path / "asked.yaml"
        path.write_text(text)
        return load(str(path))

    return made


@pytest.fixture
def planned(composing: Composer) -> Planned:
    """The plan of a question with what is typed."""

    def made(question: Question, *typed: str) -> Plan:
        return plan(question, composing.parse(list(typed)), composing, lambda cfg: checked(cfg, cfg.hydra, ()))

    return made
