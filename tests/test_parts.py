"""Parts that learn beside the network are submodules of it, and each copy of the network has its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from difflab.decoder.learned_gaussian import LearnedGaussian
from difflab.diffusion import Diffusion, adopt, adopted
from difflab.gaussian import BITS
from difflab.objective.vlb import Vlb
from difflab.optimizer.adam import Adam
from difflab.precision import in_precision
from difflab.process.gaussian import Gaussian
from difflab.schedule._continuous import Continuous, Moving
from difflab.schedule.base import Schedule
from difflab.schedule.learned import Learned
from difflab.timestep.base import OneTerm, Stateless, Times
from difflab.train import checkpoint
from difflab.train.ema import Ema
from difflab.train.trainer import Settings, Trainer
from difflab.variance.fixed_beta import FixedBeta
from tests.analytic import PARAMETERIZATIONS, cosine, diffusion_of, shrinking


class _Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def test_a_network_adopts_the_parts_that_are_modules_and_no_others() -> None:
    network, part = nn.Linear(2, 2), _Learned()
    adopt(network, {"variance": FixedBeta(ddpm_t1=False), "schedule": part})
    assert adopted(network) == {"schedule": part}
    assert any(p is part.weight for p in network.parameters())
    assert "part_schedule.weight" in network.state_dict()


def test_an_average_has_its_own_parts_through_whatever_wraps_it() -> None:
    network, part = nn.Linear(2, 2), _Learned()
    adopt(network, {"schedule": part})
    average = Ema(network, 0.5)
    wrapped = in_precision(average, "bf16", torch.device("cpu"))
    on = diffusion_of(shrinking, cosine(10)).on(wrapped)
    assert on.model is wrapped
    assert on.schedule is adopted(average)["schedule"] is not part


def test_a_function_has_no_parts() -> None:
    diffusion = diffusion_of(shrinking, cosine(10))
    assert diffusion.on(shrinking).schedule is diffusion.schedule


class OneForAll(OneTerm, Stateless):
    """One random t for all examples of a step: most steps have no t = 1."""

    def __init__(self, schedule: Schedule) -> None:
        self.T = schedule.T

    def sample(self, batch: int, generator: torch.Generator) -> Times:
        t = int(torch.randint(1, self.T + 1, (1,), generator=generator))
        return Times(torch.full((batch,), t), torch.ones(batch, dtype=torch.float64))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.layer(torch.cat([x_t, log_snr[:, None] / 10], 1))


DATA = torch.randint(0, 17, (40, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def trainer(continuous: bool = False, T: int = 4, steps: int = 12, accumulate: int = 2) -> Trainer:
    schedule = Learned(T=T, first_log_snr=8.0, last_log_snr=-5.0, pieces=2, speed=30.0)
    schedule = Moving(schedule) if continuous else schedule
    decoder, network = LearnedGaussian(17, (3,), schedule, per_channel=True, speed=30.0), Net()
    adopt(network, {"schedule": schedule, "decoder": decoder})
    diffusion = Diffusion(network, Gaussian(), schedule, PARAMETERIZATIONS["v"], FixedBeta(ddpm_t1=False), decoder)
    settings = Settings(
        steps=steps, max_minutes=None, batch_size=8, accumulate=accumulate, precision="fp32", compile="never", ema_decay=0.9, grad_clip=1.0,
        skip_nonfinite=0, log_every=4, val_every=0, detect_anomaly=False, profile=False, workers=None, label_dropout=0.0,
    )  # fmt: skip
    optimizer = Adam(lr=3e-3, warmup_steps=2, decay="cosine", betas=[0.9, 0.99])
    to_unit = lambda x: x.float() / 8 - 1  # noqa: E731
    return Trainer(
        diffusion,
        Vlb(decoder, schedule, Gaussian()),
        OneForAll(schedule),
        optimizer,
        DATA,
        to_unit,
        settings,
        0,
        torch.device("cpu"),
    )


@pytest.mark.parametrize("continuous", [False, True])
def test_every_backward_pass_reaches_every_part_whatever_its_batch_looks_at(continuous: bool):
    """Ranks wait for each other's gradients, and Adam moves on where one is zero but not where there is none."""
    ours, seen = trainer(continuous), set()
    for step in range(1, 13):
        ours.step = step
        t = int(ours.gradient().t[0])
        seen.add(t == 1)
        for name, p in ours.model.named_parameters():
            assert p.grad is not None, name
            if name == "part_decoder.rate":
                assert bool((p.grad != 0).all()) == (t == 1)
        ours.model.zero_grad(set_to_none=True)
    assert seen == {True, False}


@pytest.mark.parametrize("continuous", [False, True])
def test_parts_learn_are_averaged_and_resumed_bit_by_bit(tmp_path: Path, continuous: bool) -> None:
    whole, begun = trainer(continuous), trainer(continuous)
    whole.run(lambda row: None)
    for _ in range(5):
        begun.train_step()
    saved = checkpoint.save(tmp_path / "step_00000005", begun.state_dict())
    resumed = trainer(continuous)
    resumed.load_state_dict(checkpoint.load(saved))
    resumed.run(lambda row: None)
    for name, part in adopted(whole.model).items():
        averaged, first = adopted(whole.ema)[name], adopted(trainer(continuous).model)[name]
        assert getattr(whole.averaged, name) is averaged is not part
        for key, value in part.state_dict().items():
            assert torch.equal(value, resumed.model.get_parameter(f"part_{name}.{key}"))
            assert torch.equal(averaged.state_dict()[key], adopted(resumed.ema)[name].state_dict()[key])
            assert not torch.equal(value, first.state_dict()[key])
            assert not torch.equal(value, averaged.state_dict()[key])


@pytest.mark.parametrize("continuous", [False, True])
def test_the_gradient_holds_the_end_of_the_chain_once(continuous: bool):
    """That of the mean of L_T in bits/dim, whatever t was drawn and into how many parts the batch was cut."""
    ours, found = trainer(continuous), []
    objective = ours.objective
    for drop in (False, True):
        ours.objective = (lambda *given: objective(*given)._replace(besides=None)) if drop else objective  # type: ignore[assignment]
        ours.step = 3
        x0 = ours.gradient().x0
        (rate,) = adopted(ours.model)["schedule"].parameters()
        found.append(rate.grad.clone())
        ours.model.zero_grad(set_to_none=True)
    schedule = ours.diffusion.schedule
    top = schedule.level(torch.full((len(x0),), schedule.T))
    prior = BITS.per_dim(Gaussian().prior_kl(x0, top), 3).mean()
    (expected,) = torch.autograd.grad(prior, list(schedule.parameters()))  # type: ignore[attr-defined]
    assert float(expected.abs().max()) > 1e-4
    torch.testing.assert_close(found[0] - found[1], expected, rtol=1e-3, atol=1e-6)


def test_of_a_moving_schedule_the_network_sees_nothing() -> None:
    """Its gradient is bitwise that of a fixed schedule of the same levels; the schedule's own does not depend on the cuts."""
    ours, fixed, whole = trainer(True), trainer(True), trainer(True, accumulate=1)
    levels = Continuous(Schedule(ours.diffusion.schedule.log_snr.detach()))
    fixed.diffusion = replace(fixed.diffusion, schedule=levels)
    fixed.objective = Vlb(fixed.diffusion.decoder, levels)
    for step in range(1, 9):
        for each in (ours, fixed, whole):
            each.model.zero_grad(set_to_none=True)
            each.step = step
            each.gradient()
        for name, p in ours.model.named_parameters():
            if not name.startswith("part_schedule"):
                assert p.grad is not None and torch.equal(p.grad, fixed.model.get_parameter(name).grad), name  # type: ignore[arg-type]
            torch.testing.assert_close(p.grad, whole.model.get_parameter(name).grad, rtol=1e-4, atol=1e-6)
