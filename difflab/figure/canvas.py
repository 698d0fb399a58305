"""A figure that becomes a whole file or none: object interface, so that no figure is left in the process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: distinct to colour-blind readers and in grey print
TOTAL, MEAN, VARIANCE, DECODER, PRIOR = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
}
DPI = 130


@contextmanager
def canvas(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of width x height inches that is written to `path` as a PNG at the end of the block."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # fonts for mathematics that a system lacks are replaced, and nobody can do anything about it here
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        drawing = FigureCanvasAgg(figure)
        yield figure
        # no Software entry: equal figures are equal files, whatever matplotlib's version
        write_atomically(Path(path), lambda file: drawing.print_png(file, metadata={"Software": None}), binary=True)


def head(axes: Axes, title: str, facts: str) -> None:
    """What the figure is of, and under it the numbers."""
    axes.set_title(f"{title}\n" if title else "", fontweight="bold")
    axes.text(0, 1.02, facts, transform=axes.transAxes, color="#444444", fontsize=9)
