"""Questions asked of many runs: the files of sweeps/, their jobs, and the ways to run them.

question.py   what a file of sweeps/ says; plan.py   its jobs, each distinct training once; pool.py   processes side by side;
record.py   how far a sweep is, from its files; plugins.py   the same as Hydra's sweepers and launcher.
"""

from pathlib import Path

from .plan import Plan, not_defined, plan, suffix
from .question import load, names
from .record import ended, save

VARIABLE = "DIFFLAB_SWEEP"  # in the environment of a job that is a process of its own: its sweep's name

__all__ = ["VARIABLE", "Plan", "ended", "load", "names", "not_defined", "plan", "register", "save", "suffix", "tables"]


def tables(directory: Path) -> str:
    """Write the tables of a sweep's question and give their text."""
    from .table import write  # numpy, and what compares runs

    return write(directory)


def register() -> None:
    """Make the plugins known to Hydra, whose own scan takes a moment that only a run is worth."""
    from .plugins import register

    register()
