"""`python -m difflab.sweep`: the questions there are, how far a sweep is, its tables again, its W&B sweep."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from ..config.compose import composer
from ..config.schema import conf_directory, load_schema
from ..console import duration
from ..job import checked, sentence
from . import agent, plan, record
from .question import load, names
from .table import write

HELP = "What sweep=NAME of `python -m difflab` runs: one question, many runs."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m difflab.sweep", description=HELP)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="the questions there are (the default)")
    command = commands.add_parser("jobs", help="the jobs of a question, one command line each")
    command.add_argument("question")
    command.add_argument("overrides", nargs="*")
    command = commands.add_parser("status", help="how far a sweep is: jobs done, running, failed, time left")
    command.add_argument("directory", type=Path)
    command = commands.add_parser("tables", help="its tables, from what is finished")
    command.add_argument("directory", type=Path)
    command = commands.add_parser("wandb", help="what `wandb sweep` takes, for a question")
    command.add_argument("question")
    command.add_argument("overrides", nargs="*")
    options = parser.parse_args(arguments)
    try:
        print(_answer(options), flush=True)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(sentence(error), file=sys.stderr)
        return 1
    return 0


def _answer(options: argparse.Namespace) -> str:
    if options.command == "status":
        return status(options.directory)
    if options.command == "tables":
        return write(options.directory)
    if options.command in ("wandb", "jobs"):
        question = load(options.question)
        with composer(conf_directory(), load_schema()) as composing:
            typed = composing.parse(options.overrides)
            asked = plan(question, typed, composing, lambda cfg: checked(cfg, cfg.hydra, ()))
        if options.command == "jobs":
            return "\n".join(f"{job.name}: python -m difflab {shlex.join(job.overrides)}" for job in asked.jobs)
        return agent.text(question, asked, options.overrides).rstrip()
    return "\n\n".join(f"sweep={name}\n    {(q := load(name)).question}\n    {q.cost}" for name in names())


def status(directory: Path) -> str:
    """Every job that is at work or wants a look, and the whole in one line."""
    states = record.states(directory)
    worth = {name: state for name, state in states.items() if state.state in ("running", "stopped", "failed")}
    lines = [f"{s.state:<8} {s.share:>4.0%}  {name}  {s.message}".rstrip() for name, s in worth.items()]
    left = record.left(states, max(1, sum(state.state == "running" for state in states.values())))
    rest = f"; about {duration(left)} left, at so many at a time" if left else ""
    return "\n".join([*lines, f"{len(states)} jobs: {record.counted(states)}{rest}"])


if __name__ == "__main__":
    sys.exit(main())
