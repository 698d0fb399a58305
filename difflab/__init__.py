"""A laboratory for diffusion models as likelihood models: the bound, term by term.

import difflab
run = difflab.load("RUN_DIR, a checkpoint or an export")
print(run.bound(examples=200))
x = run.sample(64)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Bound, ExampleBounds, Run, load
    from .errors import ConfigError

__all__ = ["Bound", "ConfigError", "ExampleBounds", "Run", "load"]
_HOME = {"Bound": "api", "ConfigError": "errors", "ExampleBounds": "api", "Run": "api", "load": "api"}


def __getattr__(name: str) -> Any:  # torch takes seconds: it is imported when it is needed (PEP 562)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
