"""Classifier-free guidance: the combination is the formula's, both ends are the model's own, and what it cannot be is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from difflab.assemble import Laboratory, assemble
from difflab.config.check import check
from difflab.config.schema import load_schema
from difflab.data.base import UNKNOWN
from difflab.diffusion import Diffusion
from difflab.errors import ConfigError, NotDefined
from difflab.prediction import Prediction
from difflab.process._states import StatesReading
from difflab.process.categorical import Categorical
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import Ddim
from difflab.schedule.base import Level
from difflab.schedule.linear_abar import LinearAbar
from difflab.task.estimate import _sampler_nfe
from difflab.task.sample import caveat, draw, guided
from difflab.variance.fixed_beta import FixedBeta
from tests.analytic import PARAMETERIZATIONS, Analytic, Mixture, cosine, diffusion_of
from tests.test_combinations import TINY, config_of

COUNT, T = 6, 8
DATA = Mixture(torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([-1.0, 0.2, 1.1]).double(), 0.04)
LABEL = torch.tensor([0, 1, 2, 2, 1, 0])


def ancestral(w: float, count: int = COUNT, clip_x0: bool = False) -> Ancestral:
    return Ancestral(steps=None, count=count, clip_x0=clip_x0, guidance=w)


def ddim(w: float, count: int = COUNT, clip_x0: bool = False) -> Ddim:
    return Ddim(steps=None, count=count, clip_x0=clip_x0, guidance=w, eta=0.5)


MAKE = {"ancestral": ancestral, "ddim": ddim}


@dataclass(frozen=True)
class Exact:
    """The exact predictor of p(x_0|x_t, label), of p(x_0|x_t) where the label is unknown; `seen`: what it was told."""

    kind: str
    seen: list[Tensor]

    def __call__(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None) -> Tensor:
        cond = torch.full((len(x_t),), UNKNOWN) if cond is None else cond
        self.seen.append(cond)

        def predict(x: Tensor, level: Level) -> Tensor:
            own = [Mixture(torch.ones(1).double(), mean[None], DATA.var) for mean in DATA.mean]
            told = torch.stack([p.predict(x, level) for p in [*own, DATA]])
            return told[cond, torch.arange(len(x))]

        network = diffusion_of(predict, cosine(T), self.kind).model
        assert isinstance(network, Analytic)
        return network(x_t, log_snr, None)


def exact(kind: str = "v") -> tuple[Diffusion, list[Tensor]]:
    seen: list[Tensor] = []
    return replace(diffusion_of(DATA.predict, cosine(T), kind, FixedBeta(ddpm_t1=False)), model=Exact(kind, seen)), seen


def x_t(count: int = COUNT) -> Tensor:
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


# -- the formula ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("w", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
def test_the_guided_score_is_that_of_p_times_the_classifier_to_the_power_of_w(kind: str, w: float) -> None:
    """grad log [p_t(x) p_t(label|x)^w], by autograd of the mixture's density and of Bayes' posterior."""
    diffusion, _ = exact(kind)
    for t in range(2, T + 1):
        x = x_t().requires_grad_()
        prediction = ancestral(w).predicted(diffusion, x.detach(), t, LABEL)
        assert isinstance(prediction, Prediction)
        level = diffusion.schedule.level(torch.tensor([t]))
        alpha, sigma = float(level.alpha), float(level.sigma)
        log_p = DATA.log_prob(x[:, 0], alpha, sigma**2)
        each = torch.stack(
            [Mixture(torch.ones(1).double(), m[None], DATA.var).log_prob(x[:, 0], alpha, sigma**2) for m in DATA.mean]
        )
        log_posterior = torch.log(DATA.weight[LABEL]) + each[LABEL, torch.arange(COUNT)] - log_p
        (score,) = torch.autograd.grad((log_p + w * log_posterior).sum(), x)
        eps = (x.detach() - alpha * prediction.x0_hat()) / sigma
        torch.testing.assert_close(-eps / sigma, score, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
def test_x0_hat_and_the_mean_move_by_the_formula_and_the_variance_does_not(kind: str) -> None:
    diffusion, _ = exact(kind)
    x, w = x_t(), 3.0
    for t in range(2, T + 1):
        step = diffusion.schedule.step(torch.full((COUNT,), t))
        told, unknown = diffusion(x, step, LABEL), diffusion(x, step, None)
        assert isinstance(told, Prediction) and isinstance(unknown, Prediction)
        told = replace(told, excess=told.excess + 0.7)  # as a learned variance would differ with the label
        found = told.guided(unknown, w)
        for of in (Prediction.x0_hat, Prediction.mean):
            a, b = of(told), of(unknown)
            torch.testing.assert_close(of(found), b + w * (a - b), rtol=1e-9, atol=1e-12)
        assert torch.equal(found.log_var(), told.log_var())
        assert bool((found.clipped().x0_hat().abs() <= 1).all())  # clipping is of what was guided
        torch.testing.assert_close(found.clipped().x0_hat(), found.x0_hat().clamp(-1, 1))


def test_states_are_guided_in_their_log_probabilities() -> None:
    """p(label)^w p(unknown)^(1 - w), normalised; what x_t excludes stays excluded."""
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.rand(2, 3, 4, generator=generator).double() for _ in range(2))
    p[0, 0, 1] = q[0, 0, 1] = 0
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    step = LinearAbar(T=4).step(torch.tensor([2, 3]))
    told, unknown = (StatesReading(Categorical(4), k.log(), torch.zeros(2, 3).long(), step) for k in (p, q))
    for w in (0.5, 2.0, 5.0):
        weighed = torch.where(p > 0, p**w * q.clamp(min=1e-300) ** (1 - w), 0)
        torch.testing.assert_close(told.guided(unknown, w).log_p.exp(), weighed / weighed.sum(-1, keepdim=True))
    torch.testing.assert_close(told.guided(unknown, 1.0).log_p, told.log_p)
    torch.testing.assert_close(told.guided(unknown, 0.0).log_p, unknown.log_p)


# -- the walk -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_guidance_1_is_the_plain_walk_bit_for_bit(make: Any) -> None:
    diffusion, seen = exact()
    x = make(1.0).sample(diffusion, (1,), seed=0, label=LABEL)
    assert len(seen) == T and all(torch.equal(cond, LABEL) for cond in seen)
    generator, by_hand = torch.Generator().manual_seed(0), torch.empty(0)
    by_hand = diffusion.process.prior_sample((COUNT, 1), generator)
    for t in range(T, 0, -1):
        prediction = diffusion(by_hand, diffusion.schedule.step(torch.full((COUNT,), t)), LABEL)
        z = torch.randn(by_hand.shape, generator=generator)
        by_hand = make(1.0).reverse(prediction, z) if t > 1 else diffusion.decoder.shown(prediction, z)
    assert torch.equal(x, by_hand)


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_guidance_0_is_the_walk_without_labels_bit_for_bit(make: Any) -> None:
    diffusion, seen = exact()
    x = make(0.0).sample(diffusion, (1,), seed=0, label=LABEL)
    assert len(seen) == T and all(bool((cond == UNKNOWN).all()) for cond in seen)
    assert torch.equal(x, make(1.0).sample(diffusion, (1,), seed=0, label=torch.full((COUNT,), UNKNOWN)))
    assert torch.equal(x, make(1.0).sample(diffusion, (1,), seed=0))
    assert not torch.equal(x, make(1.0).sample(diffusion, (1,), seed=0, label=LABEL))


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_guided_samples_are_nearer_to_their_class_and_take_two_evaluations_a_step(make: Any) -> None:
    diffusion, seen = exact()
    label = torch.zeros(2000, dtype=torch.int64)  # of the leftmost component: guided away from the others, to the left
    means = []
    for w in (0.0, 1.0, 3.0):
        seen.clear()
        sampler = make(w, 2000)
        means.append(float(sampler.sample(diffusion, (1,), seed=0, label=label).mean()))
        assert sum(map(len, seen)) == 2000 * T * sampler.nfe and sampler.nfe == (2 if w == 3 else 1)
    assert means[0] > means[1] + 0.5 > means[2] + 0.5


def test_a_walk_without_labels_has_nothing_to_be_guided_by() -> None:
    with pytest.raises(ValueError, match=r"sampler\.guidance=2\.0"):
        ancestral(2.0).sample(exact()[0], (1,), seed=0)


@pytest.mark.parametrize("w", [-0.5, math.nan, math.inf])
def test_impossible_scales_are_refused_by_name(w: float) -> None:
    with pytest.raises(ConfigError, match=rf"sampler\.guidance={w} must be at least 0"):
        ancestral(w)


# -- real networks --------------------------------------------------------------------------------------------------

SMALL = [
    "schedule.T=6", "tracker=none", "sampler.count=4", "preview.count=3", "preview.steps=2", "sampler.steps=3", "model.num_classes=auto",
    "trainer.label_dropout=0.1",
]  # fmt: skip


def lab_of(*overrides: str) -> Laboratory:
    lab = assemble(config_of([*SMALL, *overrides]))
    for parameter in lab.model.parameters():  # every network begins at zero output, and labels in unit weights
        torch.nn.init.normal_(parameter, std=0.2)
    lab.model.eval()
    return lab


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
@pytest.mark.parametrize("model", ["unet_small", "dit_small", "uvit", "mlp"])
def test_every_network_is_guided(model: str, sampler: str) -> None:
    data = ["data=heartbeat", "process=binomial"] if (states := model == "mlp" and sampler == "ancestral") else []
    data = data or (["data=gaussian_mixture"] if model == "mlp" else ["data=digits"])
    lab = lab_of(*data, f"model={model}", *TINY[model], f"sampler={sampler}", "sampler.guidance=2.0")
    label = lab.sampler.labels(lab.classes, 0)
    x = lab.diffusion.process.prior_sample((4, *lab.shape), torch.Generator().manual_seed(0))
    step = lab.diffusion.schedule.step(torch.full((4,), 4))
    with torch.no_grad():
        found = lab.sampler.predicted(lab.diffusion, x, 4, label)
        told, unknown = lab.diffusion(x, step, label), lab.diffusion(x, step, torch.full((4,), UNKNOWN))
        if states:
            assert isinstance(found, StatesReading) and isinstance(told, StatesReading)
            expected = told.guided(unknown, 2.0)  # type: ignore[arg-type]
            torch.testing.assert_close(found.log_p, expected.log_p, rtol=1e-4, atol=1e-5)
        else:
            assert isinstance(found, Prediction) and isinstance(told, Prediction) and isinstance(unknown, Prediction)
            torch.testing.assert_close(found.y, 2 * told.y - unknown.y, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(found.excess, told.excess, rtol=1e-4, atol=1e-4)
            assert not torch.allclose(told.y, unknown.y, atol=1e-3)
    assert bool(draw(lab, lab.diffusion, lab.sampler).isfinite().all())


def test_the_forecast_counts_both_evaluations() -> None:
    plain, two = (
        lab_of(*TINY["unet_small"]),
        lab_of(*TINY["unet_small"], "sampler.guidance=2.0", "preview.guidance=0.0"),
    )
    assert _sampler_nfe(plain, preview=False) == 4 * 3 and _sampler_nfe(two, preview=False) == 2 * 4 * 3
    assert _sampler_nfe(plain, preview=True) == _sampler_nfe(two, preview=True) == 3 * 2


def test_guided_samples_are_said_to_be_no_samples_of_the_model() -> None:
    assert guided(ancestral(1.0)) == "" and caveat(ancestral(1.0)) == []
    assert guided(ancestral(1.5)) == "-guidance1.5"
    (line,) = caveat(ancestral(1.5))
    assert "guidance 1.5" in line and "no samples of the model whose bound is measured" in line and "2 network" in line
    assert "without labels" in caveat(ancestral(0.0))[0]


@pytest.mark.parametrize("key", ["sampler", "preview"])
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "guidance leads from .* the network is told none; set KEY.guidance=1.0"),
        (["model.num_classes=auto"], "guidance asks for .* with trainer.label_dropout=0.0 .*; set KEY.guidance=1.0"),
    ],
)
@pytest.mark.parametrize("w", ["0.0", "2.0"])
def test_what_cannot_be_guided_is_refused(key: str, overrides: list[str], words: str, w: str) -> None:
    with pytest.raises(NotDefined, match=f"{key}.{words.replace('KEY', key)}") as caught:
        assemble(config_of([*overrides, f"{key}.guidance={w}", "tracker=none"]))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_completions_have_no_guidance() -> None:
    """Their particles' weights are those of the model's own steps."""
    with pytest.raises(ConfigError, match="guidance"):
        check(config_of(["sampler=conditioned", "sampler.guidance=2.0"]), load_schema())
