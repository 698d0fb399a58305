"""difflab itself, through the objects that its tasks use: a configuration composed as from the command line, assembled, the
Trainer's own step, the evaluator's own pass with keyed noise and every column, the Sampler's own walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ...assemble import Laboratory, assemble
from ...bound.estimator import evaluate
from ...bound.stratified import Stratified
from ...build import build
from ...config.compose import composer, plain
from ...config.inherit import find_run, inherited, load_run
from ...config.schema import conf_directory, load_schema
from ...train.compute import NEVER
from ...train.trainer import Settings, Trainer
from ..work import Shape
from .base import EXAMPLES, STEPS, Contender, Piece

AS_IN_A_LONG_RUN = (
    "variance=learned_range", "objective=hybrid", "optimizer=adamw", "trainer.steps=1000000", "precision.evaluate=auto",
    "tracker=none",
)  # fmt: skip
ROWS = 32  # terms of one example in a block of the bound


class Ours(Contender):
    """`overrides`: what is typed; `channels_last`: False undoes the model's own layout (a lever)."""

    def __init__(
        self, shape: Shape, device: torch.device, overrides: Sequence[str] = (), channels_last: bool = True
    ) -> None:
        super().__init__(shape, device)
        config = composed([*AS_IN_A_LONG_RUN, *overrides])
        config["data"] = {"name": "difflab.bench.pictures", "shape": list(shape), "count": EXAMPLES}
        config["device"] = str(device)
        self.lab = assemble(config)
        if not channels_last:
            self.lab.model.to(memory_format=torch.contiguous_format)

    @property
    def network(self) -> Module:
        return self.lab.model

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        x = torch.zeros(batch, *self.shape, device=self.device)
        return x, torch.zeros(batch, device=self.device)

    def precision(self, kind: str) -> str:
        if kind == "train":
            compute = self.trainer.compute
            return compute.precision + (" compiled" if compute.compile != NEVER else "")
        return self.lab.precision["evaluate" if kind == "bound" else "sample"]

    def train(self, batch: int) -> Piece:
        self.trainer = trainer = trainer_of(self.lab, {"batch_size": batch})

        def step() -> int:
            trainer.train_step()
            return batch

        return step

    def bound(self, batch: int) -> Piece:
        """Whole batches of the default design: the first terms and systematic draws of the rest, mixed in a batch."""
        design = Stratified(
            examples=max(1, batch // ROWS), draws=1, times=min(ROWS, batch) // 2,
            exact_steps=min(ROWS, batch) - min(ROWS, batch) // 2, last_steps=0, target_se=None, clip_x0=False, seed=0, batch_size=batch,
        )  # fmt: skip
        self.network.eval()
        diffusion, examples = self.lab.computing(self.lab.diffusion, "evaluate"), self.lab.examples(self.lab.data.test)
        return lambda: evaluate(diffusion, examples, design, self.device).nfe

    def ancestral(self, batch: int) -> Piece:
        return self._walk(batch, {"name": "ancestral"})

    def ddim(self, batch: int) -> Piece:
        return self._walk(batch, {"name": "ddim", "eta": 0.0})

    def _walk(self, batch: int, node: Mapping[str, Any]) -> Piece:
        sampler = build("sampler", {"steps": STEPS, "count": batch, "clip_x0": True, "guidance": 1.0, **node})
        self.network.eval()
        diffusion = self.lab.computing(self.lab.diffusion, "sample")

        def whole() -> int:
            sampler.sample(diffusion, self.shape, 0, self.device)
            return batch * STEPS

        return whole


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """What these overrides compose to."""
    with composer(conf_directory(), load_schema()) as composing:
        return plain(composing.compose(list(overrides)))


def composed_from(run: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The same, beginning with the configuration of a run, as task=evaluate does."""
    with composer(conf_directory(), load_schema()) as composing:
        lines = inherited(load_run(find_run("run", run)), composing.parse(overrides), composing, keep_task=False)
        return plain(composing.compose([*lines, *overrides]))


def trainer_of(lab: Laboratory, settings: Mapping[str, Any]) -> Trainer:
    """The trainer of a laboratory, with other settings."""
    return Trainer(
        lab.diffusion, lab.objective, lab.timestep, lab.optimizer, lab.data.train.x, lab.data.to_unit,
        Settings(**{**lab.config["trainer"], **settings}), lab.config["seed"], lab.device, lab.data.train.label,
    )  # fmt: skip
