"""Small runs whose chain is not over the data."""

from __future__ import annotations

from difflab.assemble import Laboratory, assemble
from difflab.train.lessons import lessons
from tests.test_combinations import config_of

SMALL = [
    "schedule.T=12", "trainer.steps=6", "trainer.batch_size=16", "trainer.log_every=3", "trainer.val_every=3", "trainer.precision=fp32",
    "checkpoint.every=2", "checkpoint.keep_last=9", "bound.examples=30", "bound.times=6", "bound.exact_steps=6", "validation.examples=6",
    "preview.steps=2", "preview.count=4", "sampler.steps=3", "sampler.count=4", "fit.examples=10", "chains.verify=[4]", "chains.examples=8",
    "data.limit=300", "tracker=none",
]  # fmt: skip
MLP = ["model.width=16", "model.depth=1", "model.embedding=16"]
UNET = ["model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16"]


def ready(*overrides: str) -> Laboratory:
    """A run's parts, its space learned."""
    lab = assemble(config_of([*SMALL, "bound.times=4", "bound.exact_steps=3", *overrides]))
    if not lab.diffusion.space.ready:
        list(lab.diffusion.space.learn(lessons(lab.data.train.x, lab.data.to_unit, lab.device, 0), {}))
    return lab
