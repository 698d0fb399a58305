"""The ledger: one row per term of the bound, rows that add up to the total, standard errors on all of them."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically
from ..gaussian import BITS, NATS, Unit
from .estimator import Estimate

COLUMNS = (
    "t", "term", "log_snr_s", "log_snr_t", "{u}", "{u}_se", "se_between", "se_noise", "mean_error_{u}",
    "variance_mismatch_{u}", "mse_x0", "mse_eps", "out_of_range", "count",
)  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    """Columns as in COLUMNS ({u}: the unit's key), rows t = 1 (decoder_nll), 2..T (transition_kl), then prior_kl.

    totals: the sums with their standard errors, from per-example totals because one example's terms are correlated.
    """

    unit: Unit
    columns: dict[str, np.ndarray]
    totals: dict[str, float]

    def save(self, path: Path) -> Path:
        """Write the rows as CSV. NaN (not defined for that term) is an empty field."""
        names = list(self.columns)

        def rows(file) -> None:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            for values in zip(*self.columns.values(), strict=True):
                writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in map(_plain, values)])

        return write_atomically(path, rows)

    @staticmethod
    def load(path: Path, totals: dict[str, float] | None = None) -> Ledger:
        """Read a saved ledger; the totals live in result.json, not in the CSV."""
        with open(path, newline="") as file:
            header, *rows = csv.reader(file)
        unit = BITS if BITS.key in header else NATS
        columns = {
            name: np.array(values) if name == "term" else np.array([float(v) if v else math.nan for v in values])
            for name, values in zip(header, zip(*rows, strict=True), strict=True)
        }
        for name in ("t", "count"):
            columns[name] = columns[name].astype(np.int64)
        return Ledger(unit, columns, totals or {})


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def build(estimate: Estimate) -> Ledger:
    """Add an estimate up, per term and in total."""
    unit, scale, T = estimate.unit, 1 / (estimate.dims * estimate.unit.nats), estimate.T
    t = estimate.plan.t.numpy()
    count = np.bincount(t, minlength=T + 1)[1:]
    sums = _PerStep(estimate, t)
    nats, se, between, noise = sums.contribution("nats")
    prior = estimate.prior_kl
    prior_se = _standard_error(prior)
    first, nan = np.arange(1, T + 1) == 1, np.full(T, math.nan)
    mse_x0 = sums.average("mse_x0")
    snr = np.exp(estimate.log_snr[1:])

    def rows(body: np.ndarray, last: float) -> np.ndarray:
        return np.append(body, last)

    columns = (
        rows(np.arange(1, T + 1), T).astype(np.int64),
        np.array(["decoder_nll"] + ["transition_kl"] * (T - 1) + ["prior_kl"]),
        rows(estimate.log_snr[:-1], math.nan),
        rows(estimate.log_snr[1:], estimate.log_snr[-1]),
        rows(nats * scale, prior.mean() * scale),
        rows(se * scale, prior_se * scale),
        rows(between * scale, prior_se * scale),
        rows(noise * scale, 0.0),
        rows(np.where(first, nan, sums.contribution("mean_error")[0] * scale), math.nan),
        rows(np.where(first, nan, sums.contribution("variance_mismatch")[0] * scale), math.nan),
        rows(mse_x0, math.nan),
        rows(mse_x0 * snr, math.nan),
        rows(sums.average("out_of_range"), math.nan),
        rows(count, estimate.examples).astype(np.int64),
    )
    names = [name.format(u=unit.key) for name in COLUMNS]
    return Ledger(unit, dict(zip(names, columns, strict=True)), _totals(estimate, scale))


class _PerStep:
    """Sums of an estimate's rows for each t, without an [N, T] table: the rows are visited once, sorted by cell."""

    def __init__(self, estimate: Estimate, t: np.ndarray) -> None:
        self.estimate, self.t = estimate, t
        self.weight = estimate.plan.weight.numpy()
        example = estimate.plan.example.numpy().astype(np.int64)
        cell = t * estimate.examples + example
        self.cells, self.cell_of_row = np.unique(cell, return_inverse=True)
        self.t_of_cell = self.cells // estimate.examples

    def per_t(self, values: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.bincount(t, values, minlength=self.estimate.T + 1)[1:]

    def average(self, name: str) -> np.ndarray:
        """Plain mean of the rows at each t (NaN where there are none)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.per_t(self.estimate.values[name].astype(np.float64), self.t) / self.per_t(
                np.ones(len(self.t)), self.t
            )

    def contribution(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(mean over examples of each t's weighted term, its standard error, between-example part, between-draw part).

        An example without a row at t contributes 0 there: that is what makes the design's weights unbiased.
        """
        n, draws = self.estimate.examples, self.estimate.draws
        weighted = self.estimate.values[name].astype(np.float64) * self.weight
        per_example = np.bincount(self.cell_of_row, weighted)
        total, squares = self.per_t(per_example, self.t_of_cell), self.per_t(per_example**2, self.t_of_cell)
        mean = total / n
        if n < 2:
            nothing = np.full_like(mean, math.nan)
            return mean, nothing, nothing, nothing
        variance = np.maximum(squares / n - mean**2, 0) / (n - 1)
        noise = np.full_like(mean, math.nan)
        if draws > 1:  # each draw alone estimates draws x its weighted value; absent draws are zeros
            within = self.per_t((weighted * draws) ** 2, self.t) / draws - self.per_t(per_example**2, self.t_of_cell)
            noise = np.maximum(within, 0) / (draws - 1) / n**2
        between = np.maximum(variance - np.nan_to_num(noise), 0) if draws > 1 else noise
        return mean, np.sqrt(variance), np.sqrt(between), np.sqrt(noise)


def _standard_error(values: np.ndarray) -> float:
    """Of the mean of independent values; NaN for a single one."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _totals(estimate: Estimate, scale: float) -> dict[str, float]:
    """The bound, its three parts and the two parts of the middle one, each with a standard error, in the unit."""
    t = estimate.plan.t.numpy()
    first, later = np.flatnonzero(t == 1), np.flatnonzero(t > 1)
    values = estimate.values
    per_draw = estimate.per_draw(values["nats"])
    sums = {
        estimate.unit.key: estimate.prior_kl + per_draw.mean(1),
        "prior_kl": estimate.prior_kl,
        "transition_kl": estimate.per_draw(values["nats"], later).mean(1),
        "decoder_nll": estimate.per_draw(values["nats"], first).mean(1),
        "mean_error": estimate.per_draw(values["mean_error"], later).mean(1),
        "variance_mismatch": estimate.per_draw(values["variance_mismatch"], later).mean(1),
    }
    totals: dict[str, float] = {}
    for name, nats in sums.items():
        totals[name], totals[name + "_se"] = float(nats.mean() * scale), _standard_error(nats) * scale
    if estimate.draws > 1 and estimate.examples > 1:
        total_variance = totals[estimate.unit.key + "_se"] ** 2
        noise = per_draw.var(1, ddof=1).mean() / estimate.draws / estimate.examples * scale**2
        totals["se_noise"], totals["se_between"] = math.sqrt(noise), math.sqrt(max(total_variance - noise, 0.0))
    totals["examples"], totals["nfe"] = estimate.examples, estimate.nfe
    return totals


def save_terms(estimate: Estimate, path: Path) -> Path:
    """Per example and term, for paired comparison: exhaustive designs as [N, T + 1] nats (slot 0: prior_kl), others as
    the list of drawn (example, t, draw, weight, nats)."""
    plan, n, T = estimate.plan, estimate.examples, estimate.T
    common = {"index": estimate.index, "log_snr": estimate.log_snr, "dims": np.array(estimate.dims)}
    totals = {"prior_kl": estimate.prior_kl, "total": estimate.totals()}
    arrays: dict[str, Any]
    if estimate.nfe == n * T * estimate.draws:
        table = np.zeros((n, T + 1))
        np.add.at(table, (plan.example.numpy(), plan.t.numpy()), estimate.values["nats"] * plan.weight.numpy())
        table[:, 0] = estimate.prior_kl
        arrays = {"nats": table.astype(np.float32)}
    else:
        arrays = {
            "example": plan.example.numpy().astype(np.int32),
            "t": plan.t.numpy().astype(np.int32),
            "draw": plan.draw.numpy().astype(np.int32),
            "weight": plan.weight.numpy().astype(np.float32),
            "nats": estimate.values["nats"],
        }
    return write_atomically(path, lambda file: np.savez_compressed(file, **common, **totals, **arrays), binary=True)
