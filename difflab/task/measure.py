"""The measurement of a checkpoint: the bound, and all that follows from the same evaluations, as files and figures.

STEM.csv .npz               the ledger; every evaluated term (also STEM-clipped.*: the other model, x0_hat clipped)
STEM-variances.csv          the same mean scored with every variance, per t
STEM-rate_distortion.csv    bits spent and error left, as the chain is walked back
STEM-chains.csv             the bound against the number of steps, claimed and evaluated
STEM-bands.csv              the mean error over t and frequency (pictures)
step_N-fit.csv              what training examples say: the optimal variance and chains are fitted on it (-fit-bf16:
                            in bf16)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import ranks, tables
from ..assemble import Laboratory
from ..bound import chain, insight, ledger, optimal, rate, verify
from ..bound.bands import Bands
from ..bound.base import Design
from ..bound.estimate import Estimate
from ..bound.estimator import Extras, evaluate_modes
from ..bound.information_gain import information_gain
from ..bound.optimal import Fit
from ..bound.rows import StoredRows
from ..bound.shift import measure_shift
from ..bound.sums import Sums, add_up
from ..console import Progress
from ..data.base import Split
from ..diffusion import PART, Diffusion, unwrapped
from ..files import UNREADABLE, write_json
from ..schedule.base import INF
from ..train.signals import Stop
from ..variance.base import Fitted, Variance
from ..variance.fixed_beta import FixedBeta
from ..variance.fixed_beta_tilde import FixedBetaTilde

OnBatch = Callable[[int, int], None]
FIXED: Mapping[str, Variance] = {"fixed_beta": FixedBeta(ddpm_t1=False), "fixed_beta_tilde": FixedBetaTilde()}


@contextmanager
def stage(label: str, stop: Stop, unit: str = "nfe", transient: bool = False) -> Iterator[OnBatch]:
    """Show a part of the work as it goes on, and honour a request to stop between two batches."""
    with Progress(label, unit=unit, transient=transient) as bar:

        def on_batch(done: int, total: int) -> None:
            if not bar.done:  # what an earlier process left is done, and no speed of this one
                bar.start_at(done)
            bar.update(done, total)
            stop.agree(ranks.current())
            stop.check()

        yield on_batch


def modes(diffusion: Diffusion, design: Design) -> tuple[bool, ...]:
    """The design's own clip mode first, then, for data with a range, the other: two bounds from the same evaluations."""
    return (design.clip_x0, not design.clip_x0) if diffusion.decoder.clips else (False,)


def training_fit(
    lab: Laboratory, diffusion: Diffusion, step: int, directory: Path, stop: Stop, transient: bool = False
) -> tuple[dict[bool, Fit], int]:
    """({clip mode: what training examples say of the weights of a `step`}, network evaluations it took): kept in
    `directory` (a run's bound/), so that it takes none the second time. No variance enters it. ({}, 0) where nothing is to be fitted."""
    if not diffusion.priced:
        return {}, 0
    if isinstance(diffusion.variance, Fitted):
        # by this very fit: neither its pilot nor its identity may depend on the fit before
        diffusion = replace(diffusion, variance=FIXED["fixed_beta"])
    precision = lab.precision["evaluate"]
    path = directory / f"step_{step:08d}-fit{f'-{precision}' if precision != 'fp32' else ''}.csv"
    record = path.with_suffix(".json")
    known = identity(lab, diffusion, lab.data.train, lab.config["fit"], but=f"{PART}variance.")
    saved = None
    with suppress(*UNREADABLE):
        if json.loads(record.read_bytes()) == known | {"sha256": _sha256(path)}:
            saved = optimal.load(path)
    if (saved := ranks.current().share(saved)) is not None:
        return saved, 0
    with stage("fitting the optimal variance", stop, transient=transient) as on_batch:
        examples = lab.examples(lab.data.train)
        design, pilot_nfe = informed(lab, diffusion, lab.fit, lab.data.train, on_batch)
        fits, nfe = optimal.fit(diffusion, examples, design, lab.device, modes(diffusion, design), on_batch)
    optimal.save(fits, path)
    write_json(record, known | {"sha256": _sha256(path)})
    return fits, nfe + pilot_nfe


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def informed(
    lab: Laboratory, diffusion: Diffusion, design: Design, split: Split, on_batch: OnBatch
) -> tuple[Design, int]:
    """(the design after its pilot, the pilot's network evaluations). The pilot sees other examples than `split`, or the
    weights would depend on what they weigh."""
    if design.pilot is None:
        return design, 0
    others = lab.examples(lab.data.train if split is lab.data.val else lab.data.val)
    clip = modes(diffusion, design)[0]
    pilot = evaluate_modes(diffusion, others, design.pilot, lab.device, {clip: Extras()}, on_batch)[0]
    return design.learned(pilot), pilot.nfe


def identity(
    lab: Laboratory, diffusion: Diffusion, split: Split, design: Mapping[str, Any], but: str | None = None
) -> dict[str, Any]:
    """What an evaluation's rows depend on: two of equal identity are the same rows. Weights whose names begin with `but`
    do not enter them."""
    weights = hashlib.sha256()
    for name, value in sorted(unwrapped(diffusion.model).state_dict().items()):
        if but and name.startswith(but):
            continue
        weights.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    schedule = diffusion.schedule
    levels = hashlib.sha256(schedule.log_snr.detach().numpy().tobytes() + INF.encode() * schedule.continuous)
    groups = ("process", "parameterization", "variance", "decoder", *(() if diffusion.space.identity else ("space",)))
    return {
        "weights": weights.hexdigest(), "split": split.sha256, "log_snr": levels.hexdigest(), "design": dict(design),
        "precision": lab.precision["evaluate"],
        "choices": {group: dict(lab.config[group]) for group in groups},
    }  # fmt: skip


@dataclass
class Measurement:
    """One evaluation of `diffusion` on `split`, written as `path`.* (a stem); `step`: of the weights."""

    lab: Laboratory
    diffusion: Diffusion
    split: Split
    design: Design
    path: Path
    step: int
    stop: Stop
    fits: dict[bool, Fit] = field(default_factory=dict)  # of each clip mode, once it has run
    store: StoredRows | None = None

    def run(self) -> dict[str, Any]:
        """The figures of result.json."""
        plain, self.diffusion = self.diffusion, self.lab.computing(self.diffusion, "evaluate")
        self.fits, fit_nfe = training_fit(self.lab, self.diffusion, self.step, self.path.parent, self.stop)
        estimates, pilot_nfe = self._evaluate()
        result, verify_nfe = dict[str, Any](), 0
        for number, estimate in enumerate(estimates):
            sums = add_up(estimate)
            figures = self._write(estimate, sums, own=number == 0)
            verify_nfe += figures.pop("nfe_verify")
            result |= figures if number == 0 else {mode_name(estimate.clip_x0): figures}
        own = estimates[0]
        unit = own.unit
        if self.diffusion.model is not plain.model:
            result |= self._shift(plain, own)
        if own.target:
            result["target"] = own.target.sentence(unit.label, own.nfe)
            result["target_reached"] = own.target.reached
        result |= without_chain(own)
        result["floors"] = self.lab.data.floors()
        if null := self.lab.data.null:
            result["information_gain"] = information_gain(result, unit, null)
        return result | {
            "nfe_pilot": pilot_nfe,
            "nfe_fit": fit_nfe,
            "nfe_verify": verify_nfe,
            "unit": unit.key,
            "split": self.split.name,
            "split_examples": len(self.split),
            "split_sha256": self.split.sha256,
            "levels": self.lab.data.levels,
            "decoder": str(self.lab.config["decoder"]["name"]),
            "data": str(self.lab.config["data"]["name"]),
            "clip_x0": own.clip_x0,
            "bound_seed": self.design.seed,
            "bound": dict(self.lab.config["bound"]),
            "precision": self.lab.precision["evaluate"],
            **({"condition": "label"} if self.lab.classes else {}),
            "T": self.diffusion.schedule.label,
        }

    def _shift(self, plain: Diffusion, estimate: Estimate) -> dict[str, Any]:
        """What the precision of the evaluation does to the bound."""
        with stage("evaluating some terms again in fp32", self.stop) as on_batch:
            examples = self.lab.examples(self.split)
            shift = measure_shift(plain, examples, estimate, self.lab.device, on_batch)
        name = f"{estimate.unit.key}_precision_shift"
        return {name: shift.mean, f"{name}_se": shift.se, "nfe_precision": shift.nfe}

    def forget_rows(self) -> None:
        """Once the figures are on the disk: until then an interrupted run finds its evaluations there."""
        if self.store:
            self.store.discard()

    def _evaluate(self) -> tuple[list[Estimate], int]:
        """The evaluation, streamed to the disk: one that was interrupted is gone on with. (estimates, the pilot's network
        evaluations)."""
        lab, design, pilot_nfe = self.lab, self.design, 0
        fitted = {
            str(clip): [fit.first, hashlib.sha256(fit.mse_x0.tobytes()).hexdigest()] for clip, fit in self.fits.items()
        }
        known = identity(lab, self.diffusion, self.split, lab.config["bound"]) | {"fit": fitted}
        store = StoredRows(self.path.with_name(f".{self.path.name}.rows"), known)
        everybody = ranks.current()
        if (state := everybody.share(store.state)) is not None:
            design = design.restored(state)
            if not everybody.first:
                store.begin(state)
        else:
            if design.pilot:
                with stage("pilot", self.stop) as on_batch:
                    design, pilot_nfe = informed(lab, self.diffusion, design, self.split, on_batch)
            store.begin(design.state())
        self.store = store
        extras = {clip: self._extras(clip) for clip in modes(self.diffusion, design)}
        with stage(f"evaluating the {self.split.name} split", self.stop) as on_batch:
            examples = lab.examples(self.split)
            return evaluate_modes(self.diffusion, examples, design, lab.device, extras, on_batch, store), pilot_nfe

    def _extras(self, clip: bool) -> Extras:
        shape, diffusion = self.lab.shape, self.diffusion
        bands = Bands(*shape[1:]) if len(shape) == 3 and diffusion.process.priced and diffusion.space.identity else None
        return Extras({**FIXED, "optimal": self.fits[clip].variance()} if diffusion.priced else {}, bands)

    def _write(self, estimate: Estimate, sums: Sums, own: bool) -> dict[str, Any]:
        """The files of one clip mode; its totals."""
        path = self.path if own else self.path.with_name(f"{self.path.name}-{mode_name(estimate.clip_x0)}")
        book = ledger.build(sums)
        book.save(path.with_name(path.name + ".csv"))
        ledger.save_terms(estimate, path.with_name(path.name + ".npz"))
        rate_se = np.append(math.nan, sums.rate.se * estimate.scale)
        written = {"rate_distortion": rate.rate_distortion(book, self.lab.levels, rate_se)}
        figures: dict[str, Any] = {**book.totals, "nfe_verify": 0}
        if self.diffusion.priced:
            written["variances"] = insight.variance_table(sums)
            written["chains"], figures["nfe_verify"] = self._chains(estimate, sums)
            figures["variances"] = variances = insight.variance_totals(sums)
            for s in ("", "_se"):
                key = f"{estimate.unit.key}{s}"
                figures[f"{estimate.unit.key}_optimal_variance{s}"] = variances["optimal"][key]
        if estimate.T > 1 and any(name.startswith("band_") for name in sums.per_t):
            written["bands"] = insight.band_table(sums)
        for name, columns in written.items():
            tables.save(path.with_name(f"{path.name}-{name}.csv"), columns)
        return figures

    def _chains(self, estimate: Estimate, sums: Sums) -> tuple[tables.Columns, int]:
        """The bound against the number of steps, claimed for all examples and, in the design's own clip mode, evaluated on
        the first of them; the network evaluations of that."""
        wanted, fitted = self.lab.config["chains"], self.fits[estimate.clip_x0]
        count = min(wanted["examples"], estimate.examples)
        lengths = verify.affordable(wanted["verify"], estimate.T, count, estimate.nfe)
        columns = verify.Claims(sums, fitted).table(sorted({*chain.STEPS, *lengths}))
        if not lengths or estimate.clip_x0 != self.design.clip_x0:
            return columns, 0
        few, examples = estimate.first(count), self.lab.examples(self.split).first(count)
        extras = self._extras(estimate.clip_x0)

        def evaluate(times: np.ndarray) -> Sums:
            with stage(f"evaluating a chain of {len(times)} steps", self.stop) as on_batch:
                return verify.evaluate_chain(self.diffusion, examples, times, few, extras, self.lab.device, on_batch)

        nfe = verify.verified(columns, lengths, verify.Claims(add_up(few), fitted), evaluate)
        return columns, nfe


def without_chain(estimate: Estimate) -> dict[str, float]:
    """The bound with the space's own law of z in place of the chain (a Gaussian, probabilistic PCA, a VAE) and what the chain
    gains over it, of the same examples, z and parts, with standard errors; {} where there is no such law."""
    if estimate.plain_nll is None:
        return {}
    alone = sum(estimate.parts.values(), start=estimate.plain_nll) * estimate.scale
    gain = alone - estimate.totals().mean(1) * estimate.scale
    result, n = dict[str, float](), len(alone)
    for name, values in ((f"{estimate.unit.key}_without_chain", alone), ("chain_gain", gain)):
        se = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
        result |= {name: float(values.mean()), f"{name}_se": se}
    return result


def mode_name(clip: bool) -> str:
    return "clipped" if clip else "unclipped"
