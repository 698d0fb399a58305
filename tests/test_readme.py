"""What the README shows works: its example of a new parameterization, its commands' keys."""

from __future__ import annotations

import re
import types
from pathlib import Path

import torch

from difflab.build import build
from difflab.config.compose import composer
from difflab.config.schema import conf_directory, load_schema
from difflab.diffusion import Diffusion
from difflab.job import checked
from difflab.sweep.plan import plan
from difflab.sweep.question import load
from tests.test_combinations import config_of

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_example_of_a_parameterization_round_trips() -> None:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "class Score" in block)
    module = types.ModuleType("difflab.parameterization.score")
    module.__package__ = "difflab.parameterization"
    exec(compile(code, "README.md", "exec"), module.__dict__)
    schedule = build("schedule", config_of(["schedule.T=50"])["schedule"])
    step = schedule.step(torch.arange(1, 51))
    x0, eps = torch.randn(2, 50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    process, variance = build("process", {"name": "gaussian"}), build("variance", {"name": "fixed_beta_tilde"})
    score = module.__dict__["Score"]()
    p, q, _ = score.coefficients(step)
    truth = p[:, None] * x0 + q[:, None] * eps
    decoder = build("decoder", {"name": "gaussian"})
    diffusion = Diffusion(lambda x, level, cond: truth, process, schedule, score, variance, decoder)
    prediction = diffusion(process.noised(x0, step.t, eps), step)
    torch.testing.assert_close(prediction.x0_hat(), x0, rtol=1e-6, atol=1e-6)


def test_the_question_of_the_readme_has_the_jobs_that_it_says(tmp_path: Path) -> None:
    (text,) = (block for block in re.findall(r"```yaml\n(.*?)```", README, re.S) if block.startswith("question:"))
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with composer(conf_directory(), load_schema()) as composing:
        asked = plan(load(str(path)), [], composing, lambda cfg: checked(cfg, cfg.hydra, ()))
    assert (len(asked.jobs), len(asked.refused), len(asked.twins)) == (8, 1, 2)  # a twin for each seed
    assert len(asked.tables) == 3


def test_every_command_of_the_readme_composes() -> None:
    lines = re.findall(r"python -m difflab ((?!resume|task=compare|task=report|--).*?)(?:#.*|`.*)?$", README, re.M)
    assert len(lines) >= 8
    for line in lines:
        words = [word for word in line.split() if word != "-m" and not word.startswith(("run=", "hydra/launcher="))]
        first = [re.sub(r",[\w,]+$", "", word) for word in words]  # of each sweep its first value
        if "parameterization=score" not in first:
            assert config_of(first)["task"]["name"]
