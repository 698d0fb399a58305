"""Training batches are changed, each example by numbers that are the seed's and the step's alone; nothing that is measured is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from difflab.assemble import Laboratory, assemble
from difflab.augmentation.base import Augmentation
from difflab.augmentation.flip import Flip
from difflab.augmentation.none import NoAugmentation
from difflab.augmentation.shift import Shift
from difflab.config.inherit import frozen
from difflab.errors import ConfigError, NotDefined
from difflab.ranks import Ranks
from difflab.train.trainer import Settings, Trainer
from tests.test_combinations import TINY, config_of
from tests.train.test_loader import Far
from tests.train.test_trainer import flat

SHAPE = (2, 3, 4)
X = torch.arange(5 * math.prod(SHAPE)).reshape(5, *SHAPE).to(torch.uint8)
FLIP, SHIFT = Flip(SHAPE, probability=0.5), Shift(SHAPE, pixels=1)


def test_a_flip_exchanges_left_and_right_of_the_examples_it_draws() -> None:
    u = torch.tensor([0.0, 0.49, 0.5, 0.51, 1 - 2**-24])[:, None]
    found = FLIP(X, u)
    assert torch.equal(found[:2], X[:2].flip(-1)) and torch.equal(found[2:], X[2:]) and found.dtype == X.dtype
    assert torch.equal(FLIP(found, u), X)  # its own inverse


@pytest.mark.parametrize(("dy", "dx"), [(-1, -1), (-1, 0), (0, 1), (1, 1), (0, 0)])
def test_a_shift_moves_what_is_inside_and_repeats_the_border(dy: int, dx: int) -> None:
    u = torch.tensor([(dy + 1.5) / 3, (dx + 1.5) / 3]).expand(5, 2)
    found = SHIFT(X, u)
    _, H, W = SHAPE
    for row in range(H):
        for column in range(W):
            from_row, from_column = min(max(row + dy, 0), H - 1), min(max(column + dx, 0), W - 1)
            assert torch.equal(found[:, :, row, column], X[:, :, from_row, from_column])
    assert found.dtype == X.dtype and found.shape == X.shape


def test_every_shift_is_as_likely_at_both_ends_of_the_numbers() -> None:
    """u in [0, 1) in float32: its largest is no further shift."""
    for pixels in (1, 2):
        shift = Shift((1, 5, 5), pixels=pixels)
        u = torch.tensor([[0.0, 1 - 2**-24]])
        x = torch.arange(25).reshape(1, 1, 5, 5).to(torch.uint8)
        assert int(shift(x, u)[0, 0, pixels, 2 - pixels]) == int(x[0, 0, 0, 2])
    u = torch.rand(30_000, 2, generator=torch.Generator().manual_seed(0))
    ramp = torch.arange(9).reshape(1, 1, 3, 3).expand(30_000, 1, 3, 3).to(torch.uint8)
    counts = torch.bincount(SHIFT_3(ramp, u)[:, 0, 1, 1].long(), minlength=9).double()
    assert bool(((counts - 30_000 / 9).abs() < 4.5 * math.sqrt(30_000 / 9)).all())


SHIFT_3 = Shift((1, 3, 3), pixels=1)


@pytest.mark.parametrize("shape", [(2,), (1, 1, 64), (1, 64, 1), (1, 8)])
@pytest.mark.parametrize("make", [lambda s: Flip(s, probability=0.5), lambda s: Shift(s, pixels=1)])
def test_what_has_no_height_and_width_is_refused(make: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(NotDefined, match=r"takes pictures \[C, H, W\].*set augmentation=none\.$"):
        make(shape)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.nan])
def test_impossible_probabilities_are_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.probability="):
        Flip(SHAPE, probability=value)


@pytest.mark.parametrize("value", [0, -1, 3])
def test_impossible_pixels_are_refused(value: int) -> None:
    with pytest.raises(ConfigError, match=rf"augmentation\.pixels={value} must be 1\.\.2"):
        Shift(SHAPE, pixels=value)


# -- in training ----------------------------------------------------------------------------------------------------

RUN = [
    *TINY["unet_small"], "schedule.T=8", "tracker=none", "trainer.batch_size=12", "trainer.log_every=2", "trainer.precision=fp32",
    "trainer.compile=never", "trainer.steps=4",
]  # fmt: skip


def lab_of(*overrides: str) -> Laboratory:
    return assemble(config_of([*RUN, *overrides]))


def trainer_of(lab: Laboratory, augmentation: Augmentation | None, x: Any = None, **values: Any) -> Trainer:
    data = lab.data.train
    return Trainer(
        lab.diffusion, lab.objective, lab.timestep, lab.optimizer, data.x if x is None else x, lab.data.to_unit,
        Settings(**{**lab.config["trainer"], **values}), 0, lab.device, data.label, augmentation,
    )  # fmt: skip


def seen(run: Trainer, steps: int = 3) -> Tensor:
    found = []
    for run.step in range(1, steps + 1):
        found.append(run.to_unit(run._examples(run._seed_step()["augmentation"])))
    run.source.close()
    run.step = 0
    return torch.cat(found)


def test_training_sees_the_examples_of_its_order_flipped_or_not() -> None:
    lab = lab_of("augmentation=flip")
    run = trainer_of(lab, lab.augmentation)
    run.step = 1
    assert torch.equal(run.gradient().x0, seen(trainer_of(lab, lab.augmentation), 1))
    plain, flipped = (seen(trainer_of(lab, a), 12) for a in (None, lab.augmentation))
    same, mirrored = ((flipped == x).flatten(1).all(1) for x in (plain, plain.flip(-1)))
    assert bool((same ^ mirrored).all())  # no digit is its own mirror image
    assert abs(float(mirrored.double().mean()) - 0.5) < 4.5 * 0.5 / math.sqrt(len(plain))
    assert len({tuple(part.tolist()) for part in mirrored.split(12)}) == 12  # another draw in every step


@pytest.mark.parametrize("name", ["flip", "shift"])
def test_where_examples_come_from_and_how_they_are_shared_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(f"augmentation={name}")
    whole = seen(trainer_of(lab, lab.augmentation))
    x = lab.data.train.x
    assert torch.equal(seen(trainer_of(lab, lab.augmentation, Far(x), workers=2)), whole)  # type: ignore[arg-type]
    assert torch.equal(seen(trainer_of(lab, lab.augmentation, accumulate=5)), whole)
    for rank in range(2):
        monkeypatch.setattr("difflab.ranks.current", lambda rank=rank: Ranks(rank, 2))
        run = trainer_of(lab, lab.augmentation)
        monkeypatch.setattr("difflab.ranks.current", Ranks)
        assert torch.equal(seen(run), whole.unflatten(0, (3, 12))[:, run.rows].flatten(0, 1))


def test_a_resumed_run_equals_the_uninterrupted_one_bit_by_bit() -> None:
    whole, first, second, other = (
        trainer_of(lab, lab.augmentation if k < 3 else None)
        for k, lab in enumerate(lab_of("augmentation=shift") for _ in range(4))
    )
    for run, steps in ((whole, 4), (other, 4), (first, 2)):
        for _ in range(steps):
            run.train_step()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.train_step()
    one, two, plain = (flat(run.state_dict() | {"seconds": 0}) for run in (whole, second, other))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], plain[key]) for key in one)


def test_without_augmentation_the_steps_are_what_they_were() -> None:
    lab = lab_of()
    assert isinstance(lab.augmentation, NoAugmentation)
    x = seen(trainer_of(lab, lab.augmentation))
    order = trainer_of(lab, None).order
    assert torch.equal(x, torch.cat([lab.data.to_unit(lab.data.train.x[order(step)]) for step in (1, 2, 3)]))  # type: ignore[call-overload]


def test_what_is_measured_and_what_the_record_says() -> None:
    """The same splits, floors and fingerprint; a checkpoint keeps the choice and a run goes on with no other."""
    plain, flipped = lab_of(), lab_of("augmentation=flip")
    assert plain.fingerprint == flipped.fingerprint and plain.data.floors() == flipped.data.floors()
    assert plain.augmentation is not flipped.augmentation
    assert frozen(flipped.config)["augmentation"] == {"name": "flip", "probability": 0.5}
    state = {"design": frozen(flipped.config), "data": flipped.fingerprint}
    flipped.check_same(state, Path("run"))
    with pytest.raises(ConfigError, match=r"augmentation\.\w+ is "):
        plain.check_same(state, Path("run"))


def test_a_meter_of_training_is_of_the_augmented_examples() -> None:
    """train/* is what the steps saw: with all flipped, the same as training on the mirror images."""
    lab, mirror = lab_of("augmentation=flip"), lab_of()
    data = mirror.data.train
    assert isinstance(data.x, Tensor)
    rows: list[list[dict[str, float]]] = []
    always = trainer_of(lab, _Always(lab.data.shape, probability=0.5))
    for run in (always, trainer_of(mirror, None, replace(data, x=data.x.flip(-1)).x)):
        found: list[dict[str, float]] = []
        run.run(found.append)
        rows.append([{k: v for k, v in row.items() if "loss" in k or "bpd" in k} for row in found])
    assert rows[0] == rows[1] and any(rows[0])


class _Always(Flip):
    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        return x.flip(-1)
