"""To a server, with everything that can be wrong with one as a sentence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ConfigError, one_line
from ..tracker.wandb import has_key

LOG_IN = "`wandb login` (or WANDB_API_KEY)"


def push(entity: str | None, make: Callable[[str], list[Any]]) -> list[str]:
    """Save what make(entity) gives; the addresses. ConfigError without a key, a server, an entity or its consent."""
    with _quiet():
        import wandb

        if not has_key(wandb):
            raise ConfigError(
                f"--push needs an API key: {LOG_IN} gives one; without --push the same spec is printed, which needs none."
            )
        with _reaching():
            owner = entity or wandb.Api(timeout=20).default_entity
        if not owner:
            raise ConfigError(
                "--entity is not given and this key has no default one; name the user or team: --entity NAME."
            )
        addresses = []
        for one in make(owner):
            with _reaching():
                addresses.append(str(one.save().url))
        return addresses


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the library's own, the client's, the network's: none is ours to tell apart
        why = one_line((str(error).strip().splitlines() or [type(error).__name__])[0])[:200].rstrip(".")
        raise ConfigError(
            f"--push: the W&B server did not take it ({why}); check the network, {LOG_IN} and that the project exists (`wandb sync` of a "
            "run makes it), or leave --push out and keep the printed spec."
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """W&B's own lines would stand between ours; its reports of its errors go nowhere."""
    before = {name: os.environ.get(name) for name in ("WANDB_SILENT", "WANDB_ERROR_REPORTING")}
    os.environ |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
