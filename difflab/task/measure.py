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
from ..bound.ledger import Ledger
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


def fitted(lab: Laboratory, diffusion: Diffusion, on_batch: OnBatch | None = None) -> tuple[dict[bool, Fit], int]:
    """({clip mode: what training examples say of the weights}, network evaluations it took). No variance enters it. ({}, 0)
    where nothing is to be fitted."""
    if not diffusion.priced:
        return {}, 0
    diffusion = _unfitted(diffusion)
    design, pilot_nfe = informed(lab, diffusion, lab.fit, lab.data.train, on_batch)
    examples = lab.examples(lab.data.train)
    fits, nfe = optimal.fit(diffusion, examples, design, lab.device, modes(diffusion, design), on_batch)
    return fits, nfe + pilot_nfe


def _unfitted(diffusion: Diffusion) -> Diffusion:
    """A variance that is fitted by this very fit: neither its pilot nor its identity may depend on the fit before."""
    if isinstance(diffusion.variance, Fitted):
        return replace(diffusion, variance=FIXED["fixed_beta"])
    return diffusion


def training_fit(
    lab: Laboratory, diffusion: Diffusion, step: int, directory: Path, stop: Stop, transient: bool = False
) -> tuple[dict[bool, Fit], int]:
    """The same of the weights of a `step`: kept in `directory` (a run's bound/), so that it takes none the second time."""
    if not diffusion.priced:
        return {}, 0
    diffusion = _unfitted(diffusion)
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
        fits, nfe = fitted(lab, diffusion, on_batch)
    optimal.save(fits, path)
    write_json(record, known | {"sha256": _sha256(path)})
    return fits, nfe


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def informed(
    lab: Laboratory, diffusion: Diffusion, design: Design, split: Split, on_batch: OnBatch | None
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
        if self.diffusion.model is not plain.model:
            result |= self._shift(plain, own)
        nfe = {"nfe_pilot": pilot_nfe, "nfe_fit": fit_nfe, "nfe_verify": verify_nfe}
        return result | following(self.lab, result, own) | nfe | about(self.lab, self.split, own)

    def _shift(self, plain: Diffusion, estimate: Estimate) -> dict[str, Any]:
        with stage("evaluating some terms again in fp32", self.stop) as on_batch:
            return shifted(self.lab, plain, self.split, estimate, on_batch)

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
        return extras(self.lab, self.diffusion, self.fits.get(clip))

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
            figures |= other_variances(sums)
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


def measured(
    lab: Laboratory, diffusion: Diffusion, split: Split, with_fit: bool, on_batch: OnBatch | None
) -> tuple[dict[str, Any], Ledger, Estimate]:
    """(the figures of result.json, the ledger, the estimate) of the design lab.bound, without a file; `with_fit`: the optimal
    variance too, which is fitted on training examples. No short chain is evaluated."""
    plain, diffusion = diffusion, lab.computing(diffusion, "evaluate")
    fits, fit_nfe = fitted(lab, diffusion, on_batch) if with_fit else ({}, 0)
    design, pilot_nfe = informed(lab, diffusion, lab.bound, split, on_batch)
    besides = {clip: extras(lab, diffusion, fits.get(clip)) for clip in modes(diffusion, design)}
    estimates = evaluate_modes(diffusion, lab.examples(split), design, lab.device, besides, on_batch)
    books, result = [], dict[str, Any]()
    for estimate in estimates:
        sums = add_up(estimate)
        books.append(ledger.build(sums))
        figures = {**books[-1].totals, **(other_variances(sums) if diffusion.priced else {})}
        result |= {mode_name(estimate.clip_x0): figures} if result else figures
    own = estimates[0]
    if diffusion.model is not plain.model:
        result |= shifted(lab, plain, split, own, on_batch)
    nfe = {"nfe_pilot": pilot_nfe, "nfe_fit": fit_nfe}
    return result | following(lab, result, own) | nfe | about(lab, split, own), books[0], own


def shifted(
    lab: Laboratory, plain: Diffusion, split: Split, estimate: Estimate, on_batch: OnBatch | None
) -> dict[str, Any]:
    """What the precision of the evaluation does to the bound; `plain`: the diffusion in fp32."""
    shift = measure_shift(plain, lab.examples(split), estimate, lab.device, on_batch)
    name = f"{estimate.unit.key}_precision_shift"
    return {name: shift.mean, f"{name}_se": shift.se, "nfe_precision": shift.nfe}


def extras(lab: Laboratory, diffusion: Diffusion, fit: Fit | None) -> Extras:
    """What is measured besides in one clip mode: the same mean with other variances (the optimal one needs its `fit`), bands
    of frequency."""
    bands = (
        Bands(*lab.shape[1:]) if len(lab.shape) == 3 and diffusion.process.priced and diffusion.space.identity else None
    )
    optimal = {"optimal": fit.variance()} if fit else {}
    return Extras({**FIXED, **optimal} if diffusion.priced else {}, bands)


def other_variances(sums: Sums) -> dict[str, Any]:
    """The totals under every variance that was scored."""
    key, variances = sums.estimate.unit.key, insight.variance_totals(sums)
    best = variances.get("optimal", {})
    return {"variances": variances} | {f"{key}_optimal_variance{s}": best[f"{key}{s}"] for s in ("", "_se") if best}


def following(lab: Laboratory, result: Mapping[str, Any], own: Estimate) -> dict[str, Any]:
    """What a `result` is read beside: its target, the space without the chain, floors, the information gain."""
    found = without_chain(own) | {"floors": lab.data.floors()}
    if own.target:
        found |= {"target": own.target.sentence(own.unit.label, own.nfe), "target_reached": own.target.reached}
    if null := lab.data.null:
        found["information_gain"] = information_gain({**result, **found}, own.unit, null)
    return found


def about(lab: Laboratory, split: Split, own: Estimate) -> dict[str, Any]:
    """What was measured, and how."""
    return {
        "unit": own.unit.key,
        "split": split.name,
        "split_examples": len(split),
        "split_sha256": split.sha256,
        "levels": lab.data.levels,
        "decoder": str(lab.config["decoder"]["name"]),
        "data": str(lab.config["data"]["name"]),
        "clip_x0": own.clip_x0,
        "bound_seed": own.design.seed,
        "bound": dict(lab.config["bound"]),
        "precision": lab.precision["evaluate"],
        **({"condition": "label"} if lab.classes else {}),
        "T": lab.diffusion.schedule.label,
    }


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
