"""Short chains: the K-step bound claimed from the terms of the whole chain beside the same K steps evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ..diffusion import Diffusion
from ..tables import Columns
from . import chain
from .estimate import OWN, Estimate, bound_column
from .estimator import Examples, Extras, evaluate_modes
from .exhaustive import Exhaustive
from .moments import jackknife
from .optimal import Fit, smooth_mse_x0
from .smooth import is_local, mse_of_x0
from .sums import PARTS, Sums, add_up, fixed

DECODER = 1 + PARTS.index("decoder_nll")


@dataclass(frozen=True)
class Claims:
    """What chains are priced with: the terms of the whole chain on some examples, and a fit to training examples."""

    sums: Sums
    fit: Fit

    @cached_property
    def mse_x0(self) -> np.ndarray:
        """[T + 1], sparse t with their neighbours'."""
        return smooth_mse_x0(self.sums)

    def knows(self, times: np.ndarray) -> bool:
        """Whether enough was drawn near each level that a chain jumps from."""
        return bool(is_local(self.sums.count)[times[1:]].all())

    @cached_property
    def replicates(self) -> chain.Replicates:
        """The same without each group of examples."""
        values, counts = self.sums.leave_one_group_out()
        return chain.Replicates(
            mse_x0=mse_of_x0(values, counts, self.sums.estimate.log_snr),
            prior_kl=fixed(self.sums.totals_without("nats")),
            decoder_nll={v: self.sums.totals_without(bound_column(v))[:, DECODER] for v in chain.VARIANCES},
        )

    def decoder_nll(self, variance: str) -> float:
        return float(self.sums.totals[bound_column(variance)].mean[DECODER])

    def table(self, steps: Sequence[int]) -> Columns:
        """The bound of K-step chains for every variance (chain.table); NaN where too little was drawn to claim one."""
        estimate = self.sums.estimate
        columns = chain.table(
            estimate.log_snr,
            self.mse_x0,
            self.fit.mse_x0,
            estimate.dims,
            float(fixed(self.sums.totals["nats"].mean)),
            {variance: self.decoder_nll(variance) for variance in chain.VARIANCES},
            estimate.unit,
            self.replicates,
            steps,
            estimate.scale,
        )
        for row in range(len(columns["steps"])):
            if not self.knows(_times(columns, row)):
                columns[estimate.unit.key][row] = columns[f"{estimate.unit.key}_se"][row] = np.nan
        return columns

    def bound(self, times: np.ndarray, variance: str) -> tuple[float, np.ndarray]:
        """(the claimed bound of one chain, the same without each group [G]), nats."""
        estimate, left_out = self.sums.estimate, self.replicates
        jumps = chain.Jumps(estimate.log_snr, self.mse_x0, self.fit.mse_x0, estimate.dims, variance)
        prior = float(fixed(self.sums.totals["nats"].mean))
        value = chain.bound_of(times, jumps, prior, self.decoder_nll(variance))
        others = chain.bound_of(
            times, replace(jumps, mse_x0=left_out.mse_x0), left_out.prior_kl, left_out.decoder_nll[variance]
        )
        return float(value), others


def evaluate_chain(
    diffusion: Diffusion,
    examples: Examples,
    times: np.ndarray,
    like: Estimate,
    extras: Extras,
    device: torch.device | str,
    on_batch: Callable[[int, int], None] | None = None,
) -> Sums:
    """Every term of the chain that visits only `times`, on the noise (seed, first draw) and in the clip mode of `like`:
    the same code on a respaced chain, so at each level the network sees exactly what it saw in the whole one."""
    design = Exhaustive(
        examples=None, draws=1, target_se=None, clip_x0=like.clip_x0, seed=like.design.seed,
        batch_size=like.design.batch_size,
    )  # fmt: skip
    part = replace(diffusion, schedule=diffusion.schedule.respace(torch.from_numpy(times)))
    extras = replace(extras, bands=None)
    return add_up(evaluate_modes(part, examples, design, device, {like.clip_x0: extras}, on_batch)[0])


def fill(columns: Columns, row: int, claims: Claims, evaluated: Sums) -> None:
    """Set the claim of a row of the chains' table (recomputed for the evaluated examples) against the evaluation.

    Both rest on the same examples and the same noise, so the difference's error (jackknife over groups of examples) is
    that of the terms that were not drawn, far below the error of either. No difference where these examples alone were
    drawn too sparsely to claim anything.
    """
    variance, times = str(columns["variance"][row]), _times(columns, row)
    moments, scale = evaluated.totals[bound_column(variance)], evaluated.estimate.scale
    columns["evaluated"][row] = moments.mean[0] * scale
    columns["evaluated_se"][row] = moments.se[0] * scale
    if not claims.knows(times):
        return
    claim, claims_without = claims.bound(times, variance)
    differences = evaluated.totals_without(bound_column(variance))[:, 0] - claims_without
    columns["difference"][row] = (moments.mean[0] - claim) * scale
    columns["difference_se"][row] = jackknife(differences) * scale


def add_own(columns: Columns, row: int, evaluated: Sums) -> None:
    """Append a row for the model's own variance, which no ledger can price on a jump: evaluated, nothing claimed."""
    moments, scale = evaluated.totals[bound_column(OWN)], evaluated.estimate.scale
    own = {name: values[row : row + 1].copy() for name, values in columns.items()}
    for values in own.values():
        if values.dtype.kind == "f":
            values[0] = np.nan
    own["variance"] = np.array([OWN])
    own["evaluated"][0], own["evaluated_se"][0] = moments.mean[0] * scale, moments.se[0] * scale
    for name, values in own.items():
        columns[name] = np.concatenate([columns[name], values])


def _times(columns: Columns, row: int) -> np.ndarray:
    return np.array(str(columns["times"][row]).split(), dtype=np.int64)


def affordable(wanted: Sequence[int], T: int, examples: int, budget: int) -> list[int]:
    """The numbers of steps, shortest first, whose chains (two for each) cost no more than `budget` network evaluations."""
    lengths, spent = [], 0
    for K in sorted({K for K in wanted if 2 <= K <= T}):
        spent += 2 * K * examples
        if spent <= budget:
            lengths.append(K)
    return lengths


def verified(columns: Columns, steps: Sequence[int], claims: Claims, evaluate: Callable[[np.ndarray], Sums]) -> int:
    """Evaluate chains of the table, fill their rows, add the model's own; returns the network evaluations.

    For each number of steps: the even chain in every variance, and the optimal chain of the optimal variance.
    `evaluate(times)` runs the chain on the examples of `claims`.
    """
    nfe, rows = 0, len(columns["steps"])
    for kind in ("even", "optimal"):
        for K in steps:
            mine = [i for i in range(rows) if columns["steps"][i] == K and columns["chain"][i] == kind]
            if kind == "optimal":
                mine = [i for i in mine if columns["variance"][i] == "optimal"]
            if mine and not (kind == "optimal" and K == claims.sums.estimate.T):  # the whole chain is both
                evaluated = evaluate(_times(columns, mine[0]))
                nfe += evaluated.estimate.nfe
                for row in mine:
                    fill(columns, row, claims, evaluated)
                add_own(columns, mine[0], evaluated)
    return nfe
