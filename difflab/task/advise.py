"""How many steps? The schedule at several T, priced in closed form for a Gaussian of the training data's covariance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import tables
from ..bound.advice import LONGEST, Price, Spectrum, price, shortest, spectrum
from ..bound.chain import VARIANCES
from ..build import build
from ..data.base import Data
from ..errors import ConfigError
from ..gaussian import BITS, NATS, Unit
from ..schedule.base import INF, Schedule

LENGTHS = (10, 25, 50, 100, 250, 500, 1000, 2000, 4000, 10_000)
CHEAP = 3e8  # examples x dims^2: some hundredths of a second


def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """task=advise [task.gap=0.01]: prints the table, writes advice.csv; {"T": {variance: the smallest T or None}}."""
    if config["schedule"]["T"] == INF:
        raise ConfigError(
            "task=advise prices chains by their length, and schedule.T=inf has none; give schedule.T a number."
        )
    if not config["task"]["gap"] > 0:
        raise ConfigError(f"task.gap={config['task']['gap']} must be positive; 0.01 is a good value.")
    data: Data = build("data", config["data"])
    unit, wanted = BITS if data.levels else NATS, float(config["task"]["gap"])
    scale, make = 1 / (data.dims * unit.nats), maker(config["schedule"], data)
    configured = make(int(config["schedule"]["T"]))  # its own values are refused here
    fitted = spectrum(data)
    needed = {name: shortest(make, fitted, name, wanted / scale) for name in VARIANCES}
    lengths = sorted({configured.T, *LENGTHS, *(T for T in needed.values() if T)})
    columns = table({T: made for T in lengths if (made := _made(make, T))}, fitted, scale)
    path = tables.save(run_dir / "advice.csv", columns)
    print(_printed(columns, configured.T, needed, config, unit), flush=True)
    print(f"table   {path}", flush=True)
    return {"T": needed}


def maker(node: Mapping[str, Any], data: Data) -> Callable[[int], Schedule]:
    """The schedule of a configuration at any T."""
    return lambda T: build("schedule", {**node, "T": T}, shape=data.shape, levels=data.levels)


def _made(make: Callable[[int], Schedule], T: int) -> Schedule | None:
    try:
        return make(T)
    except ConfigError:  # too short for this schedule
        return None


def table(schedules: Mapping[int, Schedule], fitted: Spectrum, scale: float) -> tables.Columns:
    """A row for each T: the log SNR range, L_T and its part that no model could save, and each variance's gap with its
    two parts (bound/advice.py), in the unit of `scale`."""
    rows = [(schedule, price(schedule, fitted)) for schedule in schedules.values()]

    def column(figure: Callable[[Price], float]) -> np.ndarray:
        return np.array([figure(each) * scale for _, each in rows])

    columns = {
        "T": np.array([schedule.T for schedule, _ in rows], dtype=np.int64),
        "log_snr_1": np.array([float(schedule.log_snr[1]) for schedule, _ in rows]),
        "log_snr_T": np.array([float(schedule.log_snr[-1]) for schedule, _ in rows]),
        "prior_kl": column(lambda each: each.prior_kl),
        "prior_mismatch": column(lambda each: each.prior_mismatch),
    }
    for name in VARIANCES:
        columns[f"gap_{name}"] = column(lambda each, name=name: each.gap(name))
        columns[f"gap_steps_{name}"] = column(lambda each, name=name: each.steps[name])
        columns[f"gap_decoder_{name}"] = column(lambda each, name=name: each.decoder[name])
    return columns


def _printed(
    columns: tables.Columns, own: int, needed: Mapping[str, int | None], config: Mapping[str, Any], unit: Unit
) -> str:
    head = ["T", "log SNR", "L_T", *VARIANCES]
    lines = [
        f"schedule={config['schedule']['name']}, data={config['data']['name']}: what T steps cost Gaussian data of this covariance "
        f"above the best bound ({unit.label}), by reverse variance",
        f"{head[0]:>8}  {head[1]:>16}{head[2]:>10}" + "".join(f"{name:>18}" for name in head[3:]),
    ]
    for row, T in enumerate(columns["T"].tolist()):
        span = f"{columns['log_snr_1'][row]:.1f} .. {columns['log_snr_T'][row]:.1f}"
        gaps = "".join(f"{columns[f'gap_{name}'][row]:>18.4f}" for name in VARIANCES)
        lines.append(
            f"{T:>8,}  {span:>16}{columns['prior_kl'][row]:>10.4f}{gaps}{'  <- configured' if own == T else ''}"
        )
    gap = config["task"]["gap"]
    lines += [
        f"task.gap={gap} takes "
        + ", ".join(
            f"T = {T:,} with {name}" if T else f"more than {LONGEST:,} with {name}" for name, T in needed.items()
        ),
        "optimal: the best isotropic variance, which a learned one can undercut; one for each principal direction would cost nothing at any T",
        "no data are Gaussian, and most pay more (Fashion-MNIST about ten times the last column); a trained model's bound/*-chains.csv has its price",
    ]
    return "\n".join(lines)


def chain_line(data: Data, schedule: Schedule) -> str | None:
    """The price of the configured chain in one line, where that takes no time; else None. (Continuous data are toys whose
    Gaussian says nothing of them.)"""
    if not data.levels or len(data.train) * data.dims**2 > CHEAP or data.dims * schedule.T > CHEAP / 30:
        return None
    gap = price(schedule, spectrum(data)).gap("optimal") / (data.dims * BITS.nats)
    return (
        f"a chain of {schedule.T:,} steps costs Gaussian data of this covariance {gap:.4f} {BITS.label} (isotropic variance), most data more; "
        "task=advise prices other lengths"
    )
