"""Record the run that the report's tests read: `python tests/report/record.py`, half a minute on one core.

A real training, small, and everything that its measurement leaves, less what a report does not read (checkpoints, figures).
Absolute paths are taken out: a fixture belongs to no machine.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from difflab.cli import main

FIXTURE = Path(__file__).with_name("recorded")
COMMAND = [
    "data=digits", "schedule.T=100", "model.channels=16", "model.channel_mult=[1,2]", "trainer.steps=120", "trainer.batch_size=32",
    "trainer.val_every=30", "trainer.log_every=5", "validation.examples=60", "bound=exhaustive", "bound.examples=40", "chains.verify=[5,10]",
    "sampler.count=25", "preview.count=16", "preview.steps=20", "tracker=none",
]  # fmt: skip
MAPPING = ["task=mapping", "task.count=3", "task.levels=6", "task.walk=20"]
KEPT = (
    "result.json", "environment.txt", "metrics.jsonl", ".hydra/config.yaml", ".hydra/overrides.yaml", "samples/*.png",
    "bound/step_*.csv", "bound/step_*.npz", "bound/val_*.csv", "bound/train_*.csv", "mapping/*.npz",
)  # fmt: skip
LEFT = ("-clipped", "-fit")  # the other model's tables, and the training examples' own


def record(out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        assert main([*COMMAND, f"hydra.run.dir={run}"]) == 0
        assert main([*MAPPING, f"run={run}"]) == 0
        shutil.rmtree(out, ignore_errors=True)
        for pattern in KEPT:
            for path in run.glob(pattern):
                if not any(part in path.name for part in LEFT):
                    target = out / path.relative_to(run)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target)
        for name in ("result.json", "metrics.jsonl"):
            text = (out / name).read_text().replace(f"{run}/", "")
            (out / name).write_text(text)
    lines = (out / "environment.txt").read_text().splitlines()
    versions = [line for line in lines if not line.startswith(("platform", "command"))]
    end = next((i for i, line in enumerate(versions) if line.startswith("git ")), len(versions))
    (out / "environment.txt").write_text("\n".join([*versions[:end], f"command difflab {' '.join(COMMAND)}"]) + "\n")


if __name__ == "__main__":
    record(FIXTURE)
