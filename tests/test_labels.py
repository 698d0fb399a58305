"""The bound of p(x|y): labels travel with their examples through training, evaluation and sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from difflab.assemble import Laboratory, assemble
from difflab.bound.estimate import Estimate
from difflab.bound.estimator import Examples, evaluate
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.optimal import fit
from difflab.card.blocks import markdown
from difflab.compare.markdown import conditions
from difflab.console import bound_table
from difflab.data.base import UNKNOWN
from difflab.diffusion import Diffusion
from difflab.errors import ConfigError, NotDefined
from difflab.gaussian import NATS
from difflab.ranks import Ranks
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.conditioned import Conditioned
from difflab.train.trainer import Settings, Trainer
from tests.analytic import Analytic, ExactVariance, Normal, cosine, diffusion_of
from tests.test_combinations import config_of
from tests.train.test_loader import Far
from tests.train.test_trainer import DIMS, flat, trainer

WEIGHT = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
MEANS = torch.tensor([[-1.0, 0.5], [0.2, -0.7], [1.1, 0.4]], dtype=torch.float64)
VAR = torch.tensor([0.05, 0.2], dtype=torch.float64)
SHARED = Normal(torch.zeros(2, dtype=torch.float64), VAR)  # Var(x0|x_t) is the same in every component
EXHAUSTIVE = Exhaustive(examples=None, draws=1, target_se=None, clip_x0=False, seed=0, batch_size=4096)
TINY = [
    "data=gaussian_mixture", "data.components=4", "data.spread=0.1", "schedule.T=10", "model.width=48", "model.depth=1", "model.embedding=16", "tracker=none",
    "trainer.batch_size=128", "optimizer.lr=0.01", "trainer.ema_decay=0.9", "trainer.precision=fp32",
]  # fmt: skip


@dataclass(frozen=True)
class Told:
    """The exact predictor of p(x|y), which reads y; `seen`: all that it was told."""

    T: int
    seen: list[Tensor]

    def __call__(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None) -> Tensor:
        assert cond is not None
        self.seen.append(cond)
        own = diffusion_of(lambda x, level: Normal(MEANS[cond], VAR).predict(x, level), cosine(self.T)).model
        assert isinstance(own, Analytic)
        return replace(own, head=0.0)(x_t, log_snr)


def known(T: int = 8) -> tuple[Diffusion, list[Tensor]]:
    seen: list[Tensor] = []
    diffusion = diffusion_of(SHARED.predict, cosine(T), "v", ExactVariance(SHARED))
    return replace(diffusion, model=Told(T, seen)), seen


def mixture(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.multinomial(WEIGHT, n, replacement=True, generator=generator)
    return MEANS[label] + VAR.sqrt() * torch.randn(n, 2, generator=generator, dtype=torch.float64), label


def measured(x: Tensor, label: Tensor, diffusion: Diffusion | None = None) -> Estimate:
    return evaluate(diffusion or known()[0], Examples(x.float(), torch.arange(len(x)), label=label), EXHAUSTIVE)


@pytest.mark.parametrize("T", [1, 8])
def test_the_bound_of_a_known_mixture_with_labels_is_the_entropy_given_the_label(T: int) -> None:
    """E[-log p(x|y)] + E KL(q(x_T|y) || N(0, I)), for every T: the first is the entropy of one component."""
    x, label = mixture(4000)
    diffusion = known(T)[0]
    nats = measured(x, label, diffusion).totals()
    expected = float(sum(w * Normal(m, VAR).best_bound(diffusion.schedule) for w, m in zip(WEIGHT, MEANS, strict=True)))
    assert abs(float(nats.mean()) - expected) < 4.5 * float(nats.std()) / math.sqrt(len(nats))
    assert float(nats.std()) / math.sqrt(len(nats)) < 0.03  # where a wrong label costs some nats
    wrong = measured(x, label.roll(1), diffusion).totals()
    assert float(wrong.mean()) > expected + 1


def test_the_fit_on_training_examples_is_told_their_labels() -> None:
    x, label = mixture(300)
    diffusion, seen = known()
    examples = Examples(x.float(), torch.arange(300), label=label)
    fit(diffusion, examples, EXHAUSTIVE, "cpu", (False,))
    for part in seen:  # rows of the exhaustive pass repeat each example T times
        assert torch.equal(part, label if len(part) == 300 else label.repeat_interleave(8))
    assert {len(part) for part in seen} == {300, 2400}


def test_examples_without_labels_are_unknown_and_a_part_keeps_its_own() -> None:
    examples = Examples(torch.zeros(5, 2), torch.arange(5), label=torch.arange(5))
    assert examples.first(3).cond(slice(None)).tolist() == [0, 1, 2]
    assert examples.cond(torch.tensor([4, 0])).tolist() == [4, 0]
    assert replace(examples, label=None).cond(slice(0, 2)).tolist() == [UNKNOWN, UNKNOWN]


# -- training -------------------------------------------------------------------------------------------------------


def lab_of(*overrides: str) -> Laboratory:
    return assemble(config_of([*TINY, *overrides]))


def trainer_of(lab: Laboratory, **values: Any) -> Trainer:
    data = lab.data.train
    return Trainer(
        lab.diffusion, lab.objective, lab.timestep, lab.optimizer, data.x, lab.data.to_unit,
        Settings(**{**lab.config["trainer"], **values}), 0, lab.device, data.label,
    )  # fmt: skip


def test_a_trained_network_needs_the_right_labels() -> None:
    lab = lab_of("model.num_classes=auto", "trainer.steps=60")
    assert lab.classes == lab.data.classes == 4
    run = trainer_of(lab)
    run.run(lambda row: None)
    examples = lab.examples(lab.data.test).first(200)
    assert examples.label is not None
    right = evaluate(run.averaged, examples, EXHAUSTIVE).totals()
    wrong = evaluate(run.averaged, replace(examples, label=(examples.label + 1) % 4), EXHAUSTIVE).totals()
    difference = torch.from_numpy(wrong - right)
    assert float(difference.mean()) > 5 * float(difference.std()) / math.sqrt(200)


def test_a_resumed_conditional_run_equals_the_uninterrupted_one_bit_by_bit() -> None:
    overrides = ("model.num_classes=4", "trainer.label_dropout=0.3", "trainer.steps=4")
    whole, first, second = (trainer_of(lab_of(*overrides)) for _ in range(3))
    for run, steps in ((whole, 4), (first, 2)):
        for _ in range(steps):
            run.train_step()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.train_step()
    one, two = (flat(run.state_dict() | {"seconds": 0}) for run in (whole, second))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    unknown = whole.model.conditioning.label.weight[4]  # type: ignore[union-attr]
    start = trainer_of(lab_of(*overrides)).model.conditioning.label.weight[4]  # type: ignore[union-attr]
    assert not torch.equal(unknown, start)  # dropped labels taught the row of unknown ones


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_network_is_told_the_labels_of_the_examples_it_sees(workers: int, accumulate: int) -> None:
    label = torch.arange(50) % 5
    run = trainer(x=Far(label[:, None].expand(50, DIMS).to(torch.uint8)), workers=workers, accumulate=accumulate)
    run.label = label
    told: list[Tensor] = []
    model = run.model
    run.__dict__["trained"] = replace(
        run.diffusion, model=lambda x, level, cond: (told.append(cond), model(x, level))[1]
    )
    for run.step in (1, 2, 3, 4, 5):  # into the second epoch
        told.clear()
        found = run.gradient()
        assert torch.equal(run.to_unit(torch.cat(told)), found.x0[:, 0])
    run.source.close()


def test_a_network_without_classes_trains_the_same_whatever_the_labels() -> None:
    states = []
    for label in (None, torch.arange(50) % 4):
        run = trainer(steps=5)
        run.label = run.label if label is None else label
        run.run(lambda row: None)
        states.append(flat(run.state_dict() | {"seconds": 0}))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_share_of_hidden_labels_is_the_steps_own_and_the_same_for_all_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(rank: Ranks) -> Tensor:
        monkeypatch.setattr("difflab.ranks.current", lambda: rank)
        run = trainer(label_dropout=0.3, batch_size=40)
        run.label = torch.ones(50, dtype=torch.int64)
        parts = []
        for run.step in range(1, 51):
            parts.append(run._labels(torch.Generator().manual_seed(run.step)))
        return torch.stack(parts)

    whole = told(Ranks())
    assert abs(float((whole == UNKNOWN).double().mean()) - 0.3) < 4.5 * math.sqrt(0.21 / 2000)
    assert set(whole.unique().tolist()) == {UNKNOWN, 1}
    assert torch.equal(torch.cat([told(Ranks(rank, 2)) for rank in range(2)], 1), whole)


# -- samples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "classes"), [(64, 10), (30, 10), (7, 3), (3, 10)])
def test_samples_are_shared_out_among_the_classes_in_order(count: int, classes: int) -> None:
    sampler = Ancestral(steps=None, count=count, clip_x0=False, guidance=1.0)
    label = sampler.labels(classes, 0)
    each = count // classes
    assert len(label) == count and torch.equal(label, sampler.labels(classes, 0))
    assert torch.equal(label[: each * classes], torch.arange(classes).repeat_interleave(each))
    counts = torch.bincount(label, minlength=classes)
    assert int(counts.max() - counts.min()) <= 1


def test_samples_are_of_the_classes_that_were_asked_for() -> None:
    sampler = Ancestral(steps=None, count=3000, clip_x0=False, guidance=1.0)
    label = sampler.labels(3, 0)
    x = sampler.sample(known(20)[0], (2,), 0, label=label).double().reshape(3, 1000, 2)
    for k in range(3):
        assert bool(((x[k].mean(0) - MEANS[k]).abs() < 4.5 * (VAR / 1000).sqrt() + 0.01).all())


def test_completions_are_told_the_labels_of_their_examples() -> None:
    x, label = mixture(3)
    sampler = Conditioned(
        steps=None, count=2, clip_x0=False, examples=3, particles=4, mask="left", share=0.5, noise=0.0
    )
    sampler = sampler.given(Examples(x.float(), torch.arange(3), label=label), 0)
    told = sampler.labels(3, 0)
    assert torch.equal(told, label.repeat_interleave(8)) and len(told) == sampler.count
    sampler.sample(known(6)[0], (2,), 0, label=told)


# -- what is refused and what is said -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (["data=gaussian", "model.num_classes=auto"], NotDefined, "model.num_classes=auto .*data=gaussian has none"),
        (["data=digits", "model.num_classes=7"], ConfigError, "model.num_classes=7: data=digits has 10 classes"),
        (["data=digits", "model.num_classes=all"], ConfigError, "model.num_classes=all: data=digits has 10 classes"),
        (["trainer.label_dropout=0.1"], NotDefined, "trainer.label_dropout"),
    ],
)
def test_labels_that_are_not_there_are_refused(overrides: list[str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        assemble(config_of([*overrides, "tracker=none"]))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.label_dropout="):
        trainer(label_dropout=share)


def test_a_limit_keeps_the_number_of_classes() -> None:
    assert assemble(config_of(["data.limit=3", "tracker=none"])).data.classes == 10


def test_a_conditional_bound_says_so() -> None:
    totals = {"nats_per_dim": 1.0, "nats_per_dim_se": 0.1}
    assert "label" not in bound_table(totals, {}, NATS)
    text = bound_table(totals | {"condition": "label"}, {}, NATS)
    assert "bound of p(x|label)" in text and "no bit is counted" in text


def test_a_comparison_says_which_bounds_are_given_the_label() -> None:
    def entry(name: str, **result: str) -> Any:
        return SimpleNamespace(run=SimpleNamespace(name=name, result=result))

    assert conditions([entry("a"), entry("b")]) == []
    assert conditions([entry("a", condition="label"), entry("b", condition="label")]) == []
    line = markdown(conditions([entry("a", condition="label"), entry("b")]))
    assert "a (the label)" in line and "I(x; y)" in line
