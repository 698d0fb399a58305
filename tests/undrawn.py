"""Runs without their figures, which take ten times as long as tiny runs do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from difflab.task import figures, train


@contextmanager
def undrawn_runs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "heatmap", lambda rows, path, **_: path)
        patch.setattr(train, "picture", lambda lab, x, path, columns: path)
        patch.setattr(figures, "draw_all", lambda stem, *_, **__: {"bound/figure": stem})
        yield
