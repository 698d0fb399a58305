"""diffusers does with an exported scheduler what the chain does here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from difflab.assemble import assemble
from difflab.export.counterpart import betas, counterpart
from difflab.prediction import Prediction
from difflab.schedule.base import Schedule
from difflab.schedule.cosine import Cosine
from difflab.schedule.linear import Linear
from tests.test_combinations import TINY, config_of

SMALL = ["data=gaussian", "data.train_size=50", *TINY["mlp"], "tracker=none", "schedule.T=40"]
PICTURES = ["data=digits", "data.limit=20", *TINY["unet_small"], "tracker=none", "schedule.T=40"]
CASES = [
    ["parameterization=eps", "variance=fixed_beta", "schedule=linear"],
    ["parameterization=x0", "variance=fixed_beta_tilde"],
    ["parameterization=v", "variance=learned_range"],
    ["parameterization=v", "variance=fixed_beta_tilde", "schedule.zero_terminal=true"],
    ["parameterization=eps", "variance=learned_range", "schedule=learned"],
]


def of(overrides: list[str]) -> tuple[Any, Any, dict[str, Any] | None, list[str]]:
    config = config_of(overrides)
    lab = assemble(config)
    return (lab, lab.diffusion, *counterpart(lab.diffusion, config))


def theirs(config: dict[str, Any], directory: Path) -> Any:
    """What diffusers reads from an exported directory."""
    diffusers = pytest.importorskip("diffusers")
    (directory / "scheduler").mkdir(parents=True)
    (directory / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return diffusers.DDPMScheduler.from_pretrained(directory, subfolder="scheduler")


def step_of(scheduler: Any, raw: torch.Tensor, t: int, x_t: torch.Tensor, patch: pytest.MonkeyPatch) -> Any:
    """(mean, standard deviation) of diffusers' own step, from its noise set to 0 and to 1."""
    found = []
    for noise in (torch.zeros, torch.ones):
        patch.setattr(
            "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda shape, noise=noise, **_: noise(tuple(shape))
        )
        found.append(scheduler.step(raw, t, x_t).prev_sample)
    return found[0], found[1] - found[0]


@pytest.mark.parametrize(
    ("kind", "case"), [*((SMALL, case) for case in CASES), (PICTURES, CASES[0]), (PICTURES, CASES[2])]
)
def test_a_step_of_theirs_is_ours(
    case: list[str], kind: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, diffusion, config, why = of([*kind, *case])
    assert config is not None and not why
    assert config["clip_sample"] == (kind is PICTURES)
    scheduler, T = theirs(config, tmp_path), diffusion.schedule.T
    abar = torch.sigmoid(diffusion.schedule.log_snr.detach()[1:])
    assert torch.allclose(scheduler.alphas_cumprod.double(), abar, rtol=0, atol=6e-8)
    generator = torch.Generator().manual_seed(0)
    heads = 1 + diffusion.variance.heads
    x_t, raw = (torch.randn(3, c * lab.shape[0], *lab.shape[1:], generator=generator) for c in (1, heads))
    for steps in (T, 14):  # 13 jumps of 3: where half a step is rounded, theirs goes the other way
        chain = diffusion.schedule if steps == T else diffusion.schedule.respace(diffusion.schedule.even(steps))
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == [int(t) - 1 for t in chain.original[1:].flip(0)]
        for t in (1, 2, steps // 2, steps):
            step = chain.step(torch.full((3,), t))
            ours: Prediction = diffusion.process.read(raw, x_t, step, diffusion.parameterization, diffusion.variance)
            ours = ours.clipped() if config["clip_sample"] else ours
            with torch.no_grad():
                mean, std = step_of(scheduler, raw, int(chain.original[t]) - 1, x_t, monkeypatch)
                torch.testing.assert_close(mean, ours.mean(), rtol=3e-4, atol=3e-4)
                wanted = torch.exp(0.5 * ours.log_var()).expand_as(mean) if t > 1 else torch.zeros_like(mean)
                torch.testing.assert_close(std, wanted, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    "schedule",
    [
        Cosine(T=1000, s=0.008, max_beta=0.999, zero_terminal=False), Cosine(T=4000, s=0.008, max_beta=0.999, zero_terminal=True),
        Linear(T=1000, first_beta=1e-4, last_beta=0.02, zero_terminal=False),
    ],
)  # fmt: skip
def test_rounded_betas_multiply_to_the_levels(schedule: Schedule) -> None:
    """Each rounding is made good by the next; the plain float32 betas drift ten times as far."""
    abar = torch.sigmoid(schedule.log_snr[1:])

    def away(given: list[float]) -> float:
        product = torch.cumprod(1.0 - torch.tensor(given, dtype=torch.float32), 0).double()
        seen = abar > 1e-3
        return float((product / abar - 1)[seen].abs().max())

    plain = (-torch.expm1(torch.log(abar).diff(prepend=torch.zeros(1, dtype=torch.float64)))).tolist()
    found = betas(schedule.log_snr)
    assert away(found) < 1.5e-7
    assert away(plain) > 3 * away(found)
    assert all(0 < beta <= 1 and math.isfinite(beta) for beta in found)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([*SMALL, "parameterization=mu", "variance=fixed_beta"], "parameterization=mu has no prediction_type"),
        ([*SMALL, "variance=optimal"], "variance=optimal has no variance_type"),
        ([*SMALL, "variance=learned_diagonal"], "variance=learned_diagonal has no variance_type"),
        ([*SMALL, "schedule.T='inf'", "variance=fixed_beta"], "schedule.T=inf has no list of steps"),
        ([*SMALL, "space=whiten"], "space=whiten runs the chain in a z"),
        (["data=heartbeat", "data.train_size=20", "process=categorical", *TINY["mlp"], "tracker=none"], "process=categorical steps between states"),
    ],
)  # fmt: skip
def test_where_there_is_no_counterpart_nothing_is_written_and_a_sentence_says_why(
    overrides: list[str], words: str
) -> None:
    _, _, config, why = of(overrides)
    assert config is None and len(why) == 1
    assert words in why[0] and why[0].endswith(".") and "{" not in why[0]
