"""A trained model in Python: load it, evaluate its bound, sample from it, ask it about examples of your own.

    import difflab

    run = difflab.load("runs/2026-11-27/10-00-00-cosine-v-learned_range-unet_small-1a2b")    # or a checkpoint, or an export
    bound = run.bound(examples=200)       # bound.value ± bound.se in bound.unit; print(bound): the table of task=evaluate
    x = run.sample(64, steps=50, seed=1)  # in the data's own units: uint8 levels, or float32

Names and values are those of the command line (`run.bound("importance", target_se=0.01)` is bound=importance
bound.target_se=0.01), they are checked as there, and what cannot be done raises ConfigError, one sentence. Nothing is
written, and nothing of the process is changed: threads, seeds, dtypes and signal handlers are as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .assemble import Laboratory, assemble, instruments
from .bound.estimate import Estimate
from .bound.estimator import Examples, encoded, evaluate
from .bound.ledger import Ledger
from .bound.noise import key, normal
from .bound.sums import PARTS, parts
from .config.of_run import OfRun, lines
from .console import with_error
from .data.base import Data, Split
from .diffusion import Diffusion
from .errors import ConfigError, check_seed
from .export.measured import recorded
from .gaussian import Unit
from .given import Array, Labels, examples_of, label_of, steps_of
from .prediction import Reading
from .task.evaluate import finite, table
from .task.measure import fitted, informed, measured
from .task.sample import NOISE_SEED, chain_of, draw
from .train import checkpoint

OnBatch = Callable[[int, int], None]  # (done, total)
KEPT = ("examples", "target_se")  # of a design, what one for given examples has no use for


def load(source: str | PathLike[str], *overrides: str) -> Run:
    """The EMA weights of a run directory (its newest checkpoint), of one checkpoint, or what an export holds.

    overrides: as typed behind `task=evaluate run=...`, for all that is done with the run: "device=cpu", "data.root=DIR",
    "precision.evaluate=bf16", "bound=importance". An export's data set is read when its examples are asked for, so it need
    not be there to sample. Raises ConfigError if there is no such run, if it is damaged, or for overrides that do not fit.
    """
    path = Path(source)
    of_run = OfRun(path, overrides)
    with _random_state_kept():
        config = of_run.config()
        place = checkpoint.latest(path)
        state = checkpoint.load(place)
        lab = assemble(config, state.get("facts"))
        diffusion, step = lab.holding(state, place)
    return Run(place, step, diffusion, lab, of_run)


@dataclass(frozen=True)
class Bound(Mapping[str, Any]):
    """The bound of a split, as a mapping: the keys and figures of result.json (`bound["decoder_nll_se"]`). print() shows the
    table that task=evaluate prints."""

    result: Mapping[str, Any]
    ledger: Ledger  # a row for each term: ledger.columns["t"], ["bpd"], ["bpd_se"], ...
    estimate: Estimate = field(repr=False)  # every evaluated term
    text: str = field(repr=False)

    @property
    def unit(self) -> str:
        """What its figures are in: bits/dim, nats/dim."""
        return self.ledger.unit.label

    @property
    def value(self) -> float:
        return self.result[self.ledger.unit.key]

    @property
    def se(self) -> float:
        """Standard error of `value`."""
        return self.result[f"{self.ledger.unit.key}_se"]

    def __getitem__(self, name: str) -> Any:
        return self.result[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.result)

    def __len__(self) -> int:
        return len(self.result)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Bound({with_error(self.result, self.ledger.unit)} {self.unit}, {self.result['examples']} examples)"


@dataclass(frozen=True)
class ExampleBounds:
    """The bound on -log p(x) of each example in nats, float64 [N], with standard errors over the draws of noise (NaN with one).

    terms, ses: of each part, prior_kl, transition_kl, decoder_nll and what the space adds; they add up to `nats`. What a space
    draws z with is one draw for each example, which the errors do not cover.
    """

    nats: np.ndarray
    se: np.ndarray
    terms: Mapping[str, np.ndarray]
    ses: Mapping[str, np.ndarray]
    unit: Unit
    dims: int
    nfe: int

    @property
    def log_likelihood(self) -> np.ndarray:
        """A lower bound on log p(x) in nats (log p(x|label), where the network is told the label): minus `nats`."""
        return -self.nats

    @property
    def per_dim(self) -> np.ndarray:
        """`nats` in the unit of the run's bound: bits/dim, nats/dim."""
        return self.nats / (self.dims * self.unit.nats)

    @property
    def per_dim_se(self) -> np.ndarray:
        return self.se / (self.dims * self.unit.nats)

    def __len__(self) -> int:
        return len(self.nats)


@dataclass(frozen=True)
class Run:
    """A loaded model and everything that defines it. Get one from `difflab.load`."""

    source: Path  # the checkpoint or the export
    step: int  # training steps behind the weights
    diffusion: Diffusion  # diffusion(x_t, step, labels) -> Reading: x0_hat(), mean(), log_var(), with gradients
    _lab: Laboratory = field(repr=False)
    _of_run: OfRun = field(repr=False)
    _chains: dict[str, Any] = field(default_factory=dict, repr=False)

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def config(self) -> Mapping[str, Any]:
        """The composed configuration, as in .hydra/config.yaml."""
        return self._lab.config

    @property
    def data(self) -> Data:
        """The data set: splits, floors(), to_unit and from_unit, show(x0, path)."""
        return self._lab.data

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example in the data's own units."""
        return tuple(self.data.shape)

    @property
    def T(self) -> int:
        """Steps of the chain: t runs from 1 (almost clean) to T."""
        return self.diffusion.schedule.T

    @property
    def classes(self) -> int:
        """How many labels the network is told of; 0: none."""
        return self._lab.classes

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self._lab.model.parameters())

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """What was measured of these weights when they were trained or evaluated on the command line; {} if nothing was."""
        return recorded(self.source, self.step, str(self.config["decoder"]["name"]))

    def __str__(self) -> str:
        names = " ".join(f"{group}={self.config[group]['name']}" for group in ("data", "schedule", "parameterization"))
        return f"{names} variance={self.config['variance']['name']} T={self.diffusion.schedule.label}, {self.parameters:,} parameters, step {self.step:,}"

    # -- the bound ------------------------------------------------------------------------------------------------

    def bound(
        self,
        design: str | None = None,
        *,
        split: str = "test",
        optimal_variance: bool = False,
        on_batch: OnBatch | None = None,
        **values: Any,
    ) -> Bound:
        """The bound on held-out examples: the figures of task=evaluate with the same design, to the last digit.

        design: an option of the group `bound` (stratified, importance, importance_per_example, exhaustive, quick; the run's
        own unless given); values: its keys (examples=200, draws=2, target_se=0.01, clip_x0=True, seed=0, batch_size=...).
        split: test, val or train. optimal_variance: also fit the best isotropic variance on training examples.
        """
        lab = self._with(lines("bound", design, values))
        with _random_state_kept():
            result, book, estimate = measured(lab, self.diffusion, self._split(split), optimal_variance, on_batch)
        result = finite(result | {"step": self.step})
        return Bound(result, book, estimate, table(result, lab))

    def log_likelihood_bound(
        self,
        x: Array,
        labels: Labels = None,
        *,
        design: str | None = None,
        draws: int = 2,
        on_batch: OnBatch | None = None,
        **values: Any,
    ) -> ExampleBounds:
        """The bound of each of your own examples.

        x: [N, *shape] or one example, in the data's units: whole numbers 0..levels-1 (any dtype) for data on a grid, else
        floats. labels: one for each, or one for all; needed where the network is told them (-1: unknown). design, values: as
        in `bound`; a few draws tell how far each figure is from its mean over the noise. An example's noise is keyed by its
        place in x.
        """
        if taken := [name for name in KEPT if name in values]:
            raise ConfigError(f"{taken[0]}={values[taken[0]]}: all given examples are evaluated; leave it out.")
        values = values | {"draws": draws} | dict.fromkeys(KEPT)
        lab = self._with(lines("bound", design, values))
        x0 = examples_of(x, self.data)
        label = self._label(labels, len(x0), needed=True)
        examples = Examples(x0, torch.arange(len(x0)), lab.data.to_unit, label)
        with _random_state_kept():
            diffusion, chosen = lab.computing(self.diffusion, "evaluate"), lab.bound
            if chosen.pilot is not None:  # only then data are needed
                chosen, _ = informed(lab, diffusion, chosen, lab.data.test, on_batch)
            estimate = evaluate(diffusion, examples, chosen, lab.device, on_batch=on_batch)
        return _of_examples(estimate)

    # -- samples --------------------------------------------------------------------------------------------------

    def sample(
        self,
        count: int | None = None,
        *,
        steps: int | str | EllipsisType | None = ...,
        seed: int = NOISE_SEED,
        labels: Labels = None,
        sampler: str | None = None,
        on_step: OnBatch | None = None,
        **values: Any,
    ) -> Tensor:
        """Samples [count, *shape] on the CPU in the data's own units: uint8 0..levels-1 for data on a grid, else float32.

        sampler: an option of the group (ancestral, ddim, conditioned; the run's own unless given), with its keys (eta=0.5,
        clip_x0=False); steps: a number, None for the whole chain, "optimal:20" (needs the training data). The same seed gives
        the same samples; seed=0 those of task=sample. labels: one for each, or one for all; else as many of each class.
        """
        given = {"count": count} if count is not None else {}
        lab = self._with(lines("sampler", sampler, given | ({} if steps is ... else {"steps": steps}) | values))
        check_seed("seed", seed)
        label = None if labels is None else self._label(labels, lab.sampler.count)
        with _random_state_kept():
            chain = self._chain(lab) if lab.sampler.optimal else None
            x0 = draw(lab, self.diffusion, lab.sampler, chain, on_step, seed, label)
        return x0 if lab.data.levels is None else lab.data.from_unit(x0)

    # -- one step of the chain ------------------------------------------------------------------------------------

    @torch.no_grad()
    def noised(self, x: Array, t: int | Tensor, *, seed: int = 0) -> Tensor:
        """x_t of the chain, on the device, from examples in the data's units and noise keyed by (seed, place in x, t)."""
        x0 = examples_of(x, self.data)
        index = torch.arange(len(x0))
        examples = Examples(x0, index, self.data.to_unit)
        at, device, process = steps_of(t, len(x0), self.T), self._lab.device, self.diffusion.process
        z = encoded(self.diffusion.space, examples, slice(None), seed, device).z.to(device)
        eps = normal(key(seed, index, at, torch.zeros_like(at)).to(device), self._lab.shape)
        return process.noised(z, self.diffusion.schedule.level(at), eps)

    @torch.no_grad()
    def predict(self, x_t: Tensor, t: int | Tensor, labels: Labels = None) -> Reading:
        """p(x_{t-1}|x_t) as the network has it: .x0_hat(), and of a Gaussian chain .mean() and .log_var(); t in 1..T."""
        step = self.diffusion.schedule.step(steps_of(t, len(x_t), self.T))
        return self.diffusion(x_t.to(self._lab.device), step, self._cond(labels, len(x_t)))

    @torch.no_grad()
    def raw(self, x_t: Tensor, t: int | Tensor, labels: Labels = None) -> Tensor:
        """The network's own output: the prediction (eps, x0, v, mu) and, behind it, the head of a learned variance."""
        level, x_t = self.diffusion.schedule.level(steps_of(t, len(x_t), self.T)), x_t.to(self._lab.device)
        log_snr = level.log_snr.to(x_t.device, torch.float32)
        return self.diffusion.model(self.diffusion.process.seen(x_t), log_snr, self._cond(labels, len(x_t)))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _with(self, overrides: Sequence[str]) -> Laboratory:
        """The laboratory with other designs and samplers."""
        if not overrides:
            return self._lab
        config = self._of_run.config(*overrides)
        parts = instruments(config, self.diffusion, self._lab.device)
        return replace(self._lab, config=config, **parts)

    def _split(self, name: str) -> Split:
        if name not in ("test", "val", "train"):
            raise ConfigError(f"split={name} is not one of test, val, train.")
        return getattr(self.data, name)

    def _chain(self, lab: Laboratory) -> Callable[[int], Tensor]:
        if lab.precision["evaluate"] not in self._chains:
            self._chains[lab.precision["evaluate"]] = fitted(lab, lab.computing(self.diffusion, "evaluate"))[0]
        return chain_of(self._chains[lab.precision["evaluate"]], lab.sampler)

    def _label(self, labels: Labels, count: int, needed: bool = False) -> Tensor | None:
        return label_of(labels, count, self.classes, needed)

    def _cond(self, labels: Labels, count: int) -> Tensor | None:
        label = self._label(labels, count)
        return None if label is None else label.to(self._lab.device)


def _of_examples(estimate: Estimate) -> ExampleBounds:
    draws, columns = estimate.draws, []
    for block in estimate.blocks():
        here = slice(block.first, block.first + block.examples)
        space = [values[here] for values in estimate.parts.values()]
        columns.append(parts(block.table("nats"), estimate.prior_kl[here], space))
    each = np.concatenate(columns)  # [N, draws, 4 + space]
    se = each.std(1, ddof=1) / math.sqrt(draws) if draws > 1 else np.full_like(each[:, 0], math.nan)
    names, mean = (*PARTS, *estimate.parts), each.mean(1)
    return ExampleBounds(
        nats=mean[:, 0],
        se=se[:, 0],
        terms={name: mean[:, i] for i, name in enumerate(names, 1)},
        ses={name: se[:, i] for i, name in enumerate(names, 1)},
        unit=estimate.unit,
        dims=estimate.x_dims or estimate.dims,
        nfe=estimate.nfe,
    )


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Building draws initial weights from torch's global generators, which are the caller's."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=list(devices)):
        yield
