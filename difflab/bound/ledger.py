"""The ledger: one row per term of the bound, rows that add up to the total, standard errors on all of them."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import tables
from ..files import write_atomically
from ..gaussian import BITS, NATS, Unit
from .estimate import Estimate
from .exhaustive import Exhaustive
from .sums import PARTS, Sums, add_up, in_units

COLUMNS = (
    "t", "term", "log_snr_s", "log_snr_t", "{u}", "{u}_se", "se_between", "se_noise", "mean_error_{u}",
    "variance_mismatch_{u}", "mse_x0", "mse_eps", "out_of_range", "count",
)  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    """Columns as in COLUMNS ({u}: the unit's key), rows t = 1 (decoder_nll), 2..T (transition_kl), prior_kl, then what a
    space adds that is not the data's own, at t = 0: between x and z (Space.terms).

    totals: the sums with their standard errors, from per-example totals because one example's terms are correlated.
    """

    unit: Unit
    columns: dict[str, np.ndarray]
    totals: dict[str, float]

    def save(self, path: Path) -> Path:
        """Write the rows as CSV. NaN (not defined for that term) is an empty field."""
        return tables.save(path, self.columns)

    @staticmethod
    def load(path: Path, totals: dict[str, float] | None = None) -> Ledger:
        """Read a saved ledger; the totals live in result.json, not in the CSV."""
        columns = tables.load(path)
        for name in columns:
            if name not in ("t", "count", "term"):
                columns[name] = columns[name].astype(np.float64)
        return Ledger(BITS if BITS.key in columns else NATS, columns, totals or {})


def of_chain(term: np.ndarray) -> np.ndarray:
    """bool: the rows of a table that are terms of t = 1..T, whatever else stands in it."""
    return np.isin(term, ("decoder_nll", "transition_kl"))


def terms(T: int, space: Sequence[str] = ()) -> np.ndarray:
    """The names of a ledger's rows; `space`: those of the space's terms."""
    return np.array(["decoder_nll"] + ["transition_kl"] * (T - 1) + ["prior_kl", *space])


def times(T: int, space: Sequence[str] = ()) -> np.ndarray:
    """The t of a ledger's rows, int64."""
    return np.array([*range(1, T + 1), T, *[0] * len(space)], dtype=np.int64)


def build(source: Estimate | Sums) -> Ledger:
    """Add an estimate up, per term and in total."""
    sums = add_up(source) if isinstance(source, Estimate) else source
    estimate = sums.estimate
    unit, scale, T = estimate.unit, estimate.scale, estimate.T
    nats, prior = sums.per_t["nats"], sums.totals["nats"]
    last = [1, *range(1 + len(PARTS), len(prior.mean))]  # L_T and the space's parts among the totals
    last_se = prior.se[last] * scale
    first = np.arange(1, T + 1) == 1
    log_snr, count = estimate.log_snr, sums.count[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        out_of_range = sums.out_of_range[1:] / count

    def rows(body: np.ndarray, end: float | np.ndarray, others: float = math.nan) -> np.ndarray:
        ends = np.append(end, np.full(len(last) - 1, others)) if np.ndim(end) == 0 else end
        return np.append(body, ends)

    def part(name: str) -> np.ndarray:
        return rows(np.where(first, math.nan, sums.per_t[name].mean[1:] * scale), math.nan)

    columns = (
        times(T, [*estimate.parts]),
        terms(T, [*estimate.parts]),
        rows(log_snr[:-1], math.nan),
        rows(log_snr[1:], log_snr[-1]),
        rows(nats.mean[1:] * scale, prior.mean[last] * scale),
        rows(nats.se[1:] * scale, last_se),
        rows(nats.between[1:] * scale, last_se),
        rows(nats.noise[1:] * scale, 0.0, 0.0),
        part("mean_error"),
        part("variance_mismatch"),
        rows(sums.mse_x0[1:], math.nan),
        rows(_mse_eps(sums), math.nan),
        rows(out_of_range, math.nan),
        rows(count, estimate.examples, estimate.examples).astype(np.int64),
    )
    names = [name.format(u=unit.key) for name in COLUMNS]
    return Ledger(unit, dict(zip(names, columns, strict=True)), totals(sums))


def _mse_eps(sums: Sums) -> np.ndarray:
    """[T]: of x_t at t or, in continuous time, the mean over the interval of which the term is half the width times that."""
    estimate = sums.estimate
    mse = sums.mse_x0[1:] * np.exp(estimate.log_snr[1:])
    if estimate.continuous:
        width = estimate.log_snr[1:-1] - estimate.log_snr[2:]
        mse[1:] = 2 * sums.per_t["mean_error"].mean[2:] / (estimate.dims * width)
    return mse


def totals(sums: Sums) -> dict[str, float]:
    """The bound, its three parts and those of the space, and the two parts of the middle one, each with a standard error, in
    the unit."""
    estimate, result = sums.estimate, dict[str, float]()
    for i, name in enumerate((estimate.unit.key, *PARTS, *estimate.parts)):
        result |= in_units(sums.totals["nats"], estimate.scale, name, i)
    for name in ("mean_error", "variance_mismatch"):
        result |= in_units(sums.totals[name], estimate.scale, name)
    return result | {"examples": estimate.examples, "draws": estimate.draws, "nfe": estimate.nfe}


def save_terms(estimate: Estimate, path: Path) -> Path:
    """Per example and term, for paired comparison: exhaustive designs as [N, T + 1] nats (slot 0: prior_kl), others as
    the list of drawn (example, t, draw, weight, nats); what a space adds, an array for each of its terms. `dims`: of the
    data, by which nats are bits/dim. Written array by array and block by block."""
    by_draw = estimate.totals()
    small = {
        "index": estimate.index, "log_snr": estimate.log_snr, "dims": np.array(estimate.x_dims or estimate.dims),
        "prior_kl": estimate.prior_kl, "total": by_draw.mean(1), **estimate.parts,
    }  # fmt: skip
    if isinstance(estimate.design, Exhaustive):  # a list of draws keeps them apart, a table does not
        small["by_draw"] = by_draw

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in small.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array)
            for name, kind, shape, pieces in _streams(estimate):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    member.write(_npy_header(np.dtype(kind), shape))
                    for piece in pieces:
                        member.write(np.ascontiguousarray(piece, kind).tobytes())

    return write_atomically(path, write, binary=True)


def _streams(estimate: Estimate):
    """(name, dtype, shape, pieces) of the arrays that hold the terms."""
    if isinstance(estimate.design, Exhaustive):
        yield "nats", np.float32, (estimate.examples, estimate.T + 1), map(_with_prior(estimate), estimate.blocks())
        return
    for name, kind in (("example", np.int32), ("t", np.int32), ("draw", np.int32), ("weight", np.float64)):
        yield name, kind, (len(estimate.rows),), (_plan_column(block, name) for block in estimate.blocks())
    yield "nats", np.float32, (len(estimate.rows),), (block.column("nats") for block in estimate.blocks())


def _with_prior(estimate: Estimate):
    def table(block) -> np.ndarray:
        values = block.table("nats").mean(1)
        values[:, 0] = estimate.prior_kl[block.first : block.first + block.examples]
        return values

    return table


def _plan_column(block, name: str) -> np.ndarray:
    values = getattr(block.plan, name).numpy()
    return values + block.first if name == "example" else values


def _npy_header(kind: np.dtype, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(buffer, header)
    return buffer.getvalue()
