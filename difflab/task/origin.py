"""What a training run begins with: nothing, its own last checkpoint, another run's, another's weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..train import checkpoint
from .evaluate import say


def origin(run_dir: Path, resume: str | None, init: str | None) -> tuple[dict[str, Any] | None, Path | None]:
    """(the state to begin with, the checkpoint that it is of), (None, None) for a fresh start. `resume`, `init`: as in
    conf/config.yaml. ConfigError where there is nothing whole to begin with, or checkpoints that nobody asked for."""
    own = checkpoint.newest_first(run_dir)
    if resume is None and own:
        raise ConfigError(
            f"{run_dir} already holds checkpoints; set resume=auto to go on with them or choose another directory."
        )
    if resume == "auto":
        return _newest(own, must=False)
    if resume or init:
        return _newest([checkpoint.latest(Path(resume or init or ""))], must=True)
    return None, None


def _newest(candidates: Sequence[Path], must: bool) -> tuple[dict[str, Any] | None, Path | None]:
    """The first checkpoint that is whole. With `must`, or if none of several is, ConfigError."""
    for source in candidates:
        try:
            state = checkpoint.load(source)
        except ConfigError as error:
            if must or source == candidates[-1]:
                raise
            checkpoint.set_aside(source, "damaged")
            say(f"{error} It is set aside; trying the one before.")
            continue
        return state, source
    return None, None
