"""The suite's command line: measure, print, write."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from ..files import write_json
from . import levers, scaling, table
from .lineup import DIT, SAME_NETWORK, SMALL, Entry, lineup, small
from .pool import Failed, Pool, alone
from .work import LENGTHS, SECTIONS, Length, Work

HELP = """\
Compares difflab with what a user would run instead, on the same network (depth, widths, batch, data), in one interleaved run:
diffusers' UNet2DModel, denoising-diffusion-pytorch (pip install difflab[bench]), and a loop in the style of
improved-diffusion; as shipped (fp32) and with the memory allocator fixed as difflab does. Prints medians and ranges.
"""
EPILOG = """\
sections (--only):
  peaks       what the machine can do at most, in both precisions
  works       training step, full bound, ancestral and DDIM sampling
  population  the bound to a standard error of 0.01 bits/dim (0.03 with --quick)
  levers      what each optimisation gains (not with --quick, unless named)
  scaling     cost against T, examples, picture size and batch (the same)
  start       seconds of --help and --cfg job

About 15 minutes on two cores, 3 with --quick. OMP_NUM_THREADS sets the threads of every contender. Nothing else should run.
"""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    name = "quick" if options.quick else "full"
    results = Suite(LENGTHS[name], name, options).run()
    print(table.text(results), flush=True)
    if options.json:
        write_json(options.json, results)
        say(f"written: {options.json}")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m difflab.bench",
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and rows, smaller batches, a looser standard error"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write every sample, and what it was measured on")
    parser.add_argument(
        "--figure", type=Path, metavar="F", help="where to draw the scaling plots (default: beside --json, as .png)"
    )
    parser.add_argument(
        "--run", metavar="DIR", help="a run or checkpoint for the population bound; default: train one here"
    )
    parser.add_argument("--only", metavar="A,B", type=chosen, default=None, help="sections, in this order; see below")
    options = parser.parse_args(arguments)
    if options.figure is None and options.json:
        options.figure = options.json.with_suffix(".png")
    return options


def chosen(text: str) -> tuple[str, ...]:
    """The sections named in a list with commas."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is no section; choose from {', '.join(SECTIONS)}")
    return names


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Suite:
    """Runs the sections; each leaves its results under its own name."""

    def __init__(self, length: Length, name: str, options: argparse.Namespace) -> None:
        self.length, self.name, self.options = length, name, options
        self.results: dict[str, Any] = {"length": {"name": name, **asdict(length)}, "command": sys.argv[1:]}

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        self.results["machine"] = alone(small(), "describe")
        with ExitStack() as self.open:
            for name in self.options.only or self.length.sections:
                say(f"-- {name}, after {time.perf_counter() - started:.0f} s")
                getattr(self, name)()
                if self.options.json:  # what is measured is kept, whatever becomes of the rest
                    write_json(self.options.json, self.results)
        self.results["seconds"] = time.perf_counter() - started
        return self.results

    @cached_property
    def pool(self) -> Pool:
        """The contenders, from when they are first needed: eight processes that start would disturb what is measured."""
        return self.open.enter_context(closing(Pool(lineup(self.results["machine"]["device"], self.length.compile))))

    def start(self) -> None:
        lines = ("--help", "--cfg job")
        self.results["start"] = {line: [_start(line) for _ in range(self.length.start_runs)] for line in lines}

    def peaks(self) -> None:
        self.results["peaks"] = alone(small(), "peaks", seconds=self.length.peak_seconds)

    def works(self) -> None:
        self.results["works"] = [self._measured(work) for work in self.length.works]

    def _measured(self, work: Work, ours: tuple[str, ...] = (SAME_NETWORK, SMALL, DIT)) -> dict[str, Any]:
        """A work by the peers and by those rows of ours."""
        fixed_too = work.kind in self.length.fixed_kinds

        def wanted(entry: Entry) -> bool:
            return entry.name in ours if entry.ours else fixed_too or not entry.keep_blocks

        rows = self.pool.measure(work, self.length.rounds, self.length.block_seconds, say, wanted)
        self.results["idle_shares"] = dict(self.pool.idle_shares)
        return {"title": work.title, **asdict(work), "rows": rows}

    def population(self) -> None:
        """Ours to the target; everybody's nfe/s on pictures of the same shape."""
        try:
            found = alone(
                small(), "population", run=self.options.run, train_seconds=self.length.train_seconds,
                target_se=self.length.target_se, probe_examples=self.length.probe_examples,
                precisions=self.length.precisions,
            )  # fmt: skip
        except Failed as failed:
            say(f"the population bound is left out: {failed}")
            return
        work = Work("bound", self.length.loop_batch, tuple(found["shape"]))
        found["speed"] = self._measured(work, ours=(SMALL,))
        self.results["population"] = found

    def levers(self) -> None:
        self.results["levers"] = levers.measure(self.length, self.name == "quick", say)

    def scaling(self) -> None:
        self.results["scaling"] = scaling.sweep(self.length, say)
        if self.options.figure:
            self.results["figure"] = str(scaling.draw(self.results["scaling"], self.options.figure))


def _start(line: str) -> float:
    """Seconds of a whole process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "difflab", *line.split()], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
