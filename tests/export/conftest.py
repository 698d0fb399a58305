"""Runs with a checkpoint, made without a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from difflab.assemble import Laboratory, assemble
from difflab.config.inherit import frozen
from difflab.config.of_run import OfRun
from difflab.task import export
from difflab.train import checkpoint
from difflab.train.lessons import lessons
from difflab.train.trainer import Settings, Trainer
from tests.test_combinations import TINY, config_of

MLP = [*TINY["mlp"], "model.depth=1"]
SMALL = [
    "schedule.T=12", "trainer.steps=3", "trainer.batch_size=16", "trainer.precision=fp32", "bound.examples=12", "bound.times=3", "bound.exact_steps=2",
    "fit.examples=20", "sampler.count=4", "sampler.steps=4", "tracker=none", "chains.verify=[]", "precision.sample=fp32",
]  # fmt: skip


def made(directory: Path, *overrides: str) -> tuple[Laboratory, Trainer, Path]:
    """(the laboratory, its trainer after its last step, the run directory)."""
    config = config_of([*SMALL, *overrides])
    lab = assemble(config)
    space = lab.diffusion.space
    if not space.ready:
        list(space.learn(lessons(lab.data.train.x, lab.data.to_unit, lab.device, 0), {}))
    data = lab.data.train
    trainer = Trainer(
        lab.diffusion, lab.objective, lab.timestep, lab.optimizer, data.x, lab.data.to_unit, Settings(**config["trainer"]), 0, lab.device,
        data.label,
    )  # fmt: skip
    trainer.run(lambda row: None)
    state: dict[str, Any] = trainer.state_dict()
    state |= {"design": frozen(config) | {"seed": 0}, "data": lab.fingerprint}
    checkpoint.save(directory / "checkpoints" / "step_00000003", state)
    (directory / ".hydra").mkdir()
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    return lab, trainer, directory


def exported(run: Path, directory: Path, **task: Any) -> Path:
    """The run's export, written into `directory`: task=export run=RUN task.dir=DIRECTORY."""
    values = {"name": "export", "reads": "run", "dir": str(directory), "weights": "ema", "license": None}
    export.run(OfRun(run).config() | {"task": values | task}, directory)
    return directory
