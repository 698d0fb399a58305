"""The softmax over levels: against brute force, to the last digit where it is sharp, in bounded memory, blind to the network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from difflab.bound.estimator import Examples, Extras, evaluate_modes
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.insight import variance_table
from difflab.bound.optimal import fit
from difflab.bound.sums import add_up
from difflab.decoder import categorical
from difflab.decoder.categorical import Categorical
from difflab.errors import ConfigError
from difflab.gaussian import BITS
from difflab.objective.vlb import Vlb
from difflab.prediction import Prediction
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import Ddim
from difflab.schedule.base import Schedule
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from difflab.variance.learned_range import LearnedRange
from tests.analytic import cosine, diffusion_of, linear, predict_at, random_pair, shrinking
from tests.decoder.test_decoder import LEVELS, grid

LOG_SNR = [-8.0, 0.0, 5.0, 9.0, 11.5, 16.0]  # of level 1: from noise to certainty


def at(log_snr: float, x1: Tensor, parameterization: str = "v") -> Prediction:
    """A prediction for x_1 [B, ...] at t = 1 of a chain that begins at this log SNR."""
    schedule = Schedule(torch.tensor([math.inf, log_snr, log_snr - 1], dtype=torch.float64))
    diffusion = diffusion_of(shrinking, schedule, parameterization)
    return diffusion(x1, schedule.step(torch.ones(len(x1), dtype=torch.int64)))


def scattered(levels: int, log_snr: float, rows: int = 40) -> Tensor:
    """x_1 [rows, 1] around every part of the grid and beyond its ends."""
    level = torch.sigmoid(torch.tensor(log_snr, dtype=torch.float64))
    x0 = torch.linspace(-1.2, 1.2, rows, dtype=torch.float64)[:, None]
    _, eps = random_pair((rows, 1), seed=levels)
    return level.sqrt() * x0 + (1 - level).sqrt() * eps


def brute_force(levels: int, log_snr: float, x1: Tensor) -> Tensor:
    """log p(level|x_1), [rows, levels]: the definition."""
    abar = torch.sigmoid(torch.tensor(log_snr, dtype=torch.float64))
    normal = torch.distributions.Normal(
        abar.sqrt() * grid(levels), torch.sigmoid(torch.tensor(-log_snr).double()).sqrt()
    )
    return torch.log_softmax(normal.log_prob(x1), 1)


def log_probs(levels: int, prediction: Prediction) -> Tensor:
    """The decoder's log p of each level, [rows, levels]."""
    x1 = prediction.x_t
    return torch.stack([-Categorical(levels).nll(x.expand_as(x1), prediction) for x in grid(levels)], 1)


@pytest.mark.parametrize("log_snr", LOG_SNR)
@pytest.mark.parametrize("levels", LEVELS)
def test_it_is_the_softmax_over_levels_and_sums_to_one(levels, log_snr):
    x1 = scattered(levels, log_snr)
    ours = log_probs(levels, at(log_snr, x1))
    torch.testing.assert_close(ours, brute_force(levels, log_snr, x1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(torch.logsumexp(ours, 1), torch.zeros(len(x1)).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("log_snr", LOG_SNR)
@pytest.mark.parametrize("levels", LEVELS)
def test_its_mean_is_that_of_the_softmax(levels, log_snr):
    x1 = scattered(levels, log_snr)
    expected = (brute_force(levels, log_snr, x1).exp() * grid(levels)).sum(1, keepdim=True)
    torch.testing.assert_close(Categorical(levels).shown(at(log_snr, x1), x1), expected, rtol=0, atol=1e-12)


def test_of_pure_noise_the_mean_is_the_middle_of_the_grid():
    x1 = torch.tensor([[0.0], [3.0], [-50.0]], dtype=torch.float64)
    prediction = at(0.0, x1)
    step = replace(prediction.step, t=type(prediction.step.t)(torch.full((3,), -math.inf).double()))
    mean = Categorical(17).shown(replace(prediction, step=step), prediction.x_t)
    torch.testing.assert_close(mean, torch.zeros(3, 1).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("g", [3.0, 9.0, 20.0, 38.0])
def test_a_certain_level_costs_what_its_neighbours_weigh_to_full_precision(g):
    """At u = 0 in the middle of the grid: log(1 + 2 exp(-g^2 / 2) + 2 exp(-2 g^2) + ...), 1e-314 at g = 38."""
    log_snr = 2 * math.log(g * 16 / 2)
    x1 = torch.zeros(1, 1, dtype=torch.float64)
    expected = math.log1p(sum(2 * math.exp(-0.5 * (g * m) ** 2) for m in range(1, 9)))
    assert float(Categorical(17).nll(x1, at(log_snr, x1))) == pytest.approx(expected, rel=1e-9, abs=0)


def test_a_pixel_of_256_levels_costs_the_entropy_of_the_noise_at_level_1():
    """log2(sqrt(2 pi e) / g), on the published schedules: what no network can win back."""
    u = torch.linspace(-9, 9, 4001, dtype=torch.float64)[:, None]
    weight = torch.exp(-0.5 * u**2) / torch.exp(-0.5 * u**2).sum()
    x0 = grid(256)[128].expand_as(u)
    bits = []
    for schedule in (cosine(1000), linear(1000)):
        prediction = predict_at(diffusion_of(shrinking, schedule), x0, u, torch.ones(len(u), dtype=torch.int64))
        bits.append(float(BITS.per_dim((Categorical(256).nll(x0, prediction) * weight[:, 0]).sum(), 1)))
        g = math.exp(float(schedule.log_snr[1]) / 2) * 2 / 255
        assert bits[-1] == pytest.approx(math.log2(math.sqrt(2 * math.pi * math.e) / g), abs=1e-4)
    assert bits == pytest.approx([1.759, 2.398], abs=1e-3)


def test_examples_of_several_noise_levels_share_a_batch():
    x1 = scattered(17, 3.0, rows=6)
    table = torch.tensor([math.inf, 9.0, 3.0, -2.0], dtype=torch.float64)
    t = torch.tensor([1, 2, 3, 3, 2, 1])
    schedule = Schedule(table)
    prediction = diffusion_of(shrinking, schedule)(x1, schedule.step(t, torch.zeros_like(t)))
    x0 = grid(17)[[0, 3, 16, 8, 8, 9]][:, None]
    ours = Categorical(17).nll(x0, prediction)
    alone = [Categorical(17).nll(x0[i : i + 1], at(float(table[t[i]]), x1[i : i + 1])) for i in range(6)]
    torch.testing.assert_close(ours, torch.cat(alone), rtol=1e-10, atol=0)


def test_memory_does_not_grow_with_levels_times_the_batch(monkeypatch):
    x1 = random_pair((3, 2, 5, 5))[0]
    x0 = (x1 * 127.5).round() / 127.5
    whole = Categorical(256).nll(x0, at(1.0, x1)), Categorical(256).shown(at(1.0, x1), x1)
    monkeypatch.setattr(categorical, "CELLS", 1000)
    decoder, prediction = Categorical(256), at(1.0, x1)
    sizes = [m.shape for m, _ in decoder._others(decoder._nearest(prediction), prediction)]
    assert max(rows * columns for rows, columns in sizes) <= 1000 and sum(rows for rows, _ in sizes) == 150
    parts = decoder.nll(x0, prediction), decoder.shown(prediction, x1)
    for a, b in zip(parts, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)
    sharp = at(13.3, x1)  # VDM's first level: six standard deviations between neighbours
    assert all(m.shape[1] <= 7 for m, _ in decoder._others(decoder._nearest(sharp), sharp))


def test_a_float32_x1_is_decoded_in_float64():
    x1 = scattered(256, 11.5).float()
    single, double = at(11.5, x1), at(11.5, x1.double())
    x0 = grid(256, torch.float32)[::6][:40, None]
    results = [Categorical(256).nll(x0.to(p.x_t), p) for p in (single, double)]
    assert results[0].dtype == torch.float32
    torch.testing.assert_close(results[0].double(), results[1], rtol=1e-6, atol=1e-6)
    assert Categorical(256).shown(single, single.x_t).dtype == torch.float32


def test_no_network_enters_and_a_batch_of_first_steps_still_has_a_gradient():
    x1 = scattered(17, 5.0)
    prediction = at(5.0, x1)
    x0 = grid(17)[torch.arange(40) % 17][:, None]
    other = replace(prediction, y=prediction.y + 7, excess=prediction.excess + 3).clipped()
    assert torch.equal(Categorical(17).nll(x0, prediction), Categorical(17).nll(x0, other))
    assert torch.equal(Categorical(17).shown(prediction, prediction.x_t), Categorical(17).shown(other, other.x_t))
    y = prediction.y.clone().requires_grad_()
    loss = Vlb(Categorical(17), cosine(1))(replace(prediction, y=y), x0, torch.zeros_like(x0)).loss
    loss.sum().backward()
    assert y.grad is not None and torch.equal(y.grad, torch.zeros_like(y))


def test_its_gradient_to_the_noise_level_is_that_of_brute_force():
    """A schedule that is learned moves L_0."""
    x0, eps = grid(17)[[2, 16, 7]][:, None], random_pair((3, 1))[1]
    gradients = []
    for ours in (True, False):
        log_snr = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
        alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        x1 = alpha * x0 + sigma * eps
        if ours:
            schedule = Schedule(torch.stack([torch.tensor(math.inf).double(), log_snr, log_snr - 1]))
            prediction = diffusion_of(shrinking, schedule).schedule.step(torch.ones(3, dtype=torch.int64))
            y = torch.zeros_like(x0)
            nats = Categorical(17).nll(x0, replace(at(5.0, x1.detach()), x_t=x1, step=prediction, y=y)).sum()
        else:
            log_p = torch.log_softmax(-0.5 * ((x1 - alpha * grid(17)) / sigma) ** 2, 1)
            nats = -log_p.gather(1, torch.tensor([[2], [16], [7]])).sum()
        nats.backward()
        gradients.append(float(log_snr.grad))  # type: ignore[arg-type]
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-9) and gradients[0] < -1e-3


def everything() -> Exhaustive:
    return Exhaustive(examples=None, draws=1, target_se=None, clip_x0=False, seed=3, batch_size=4096)


def pictures(n: int = 20) -> Examples:
    x0 = torch.randint(0, 17, (n, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    return Examples(2 * x0 / 16 - 1, torch.arange(n))


def model(schedule=None):
    return diffusion_of(shrinking, schedule or cosine(12), "v", LearnedRange(), Categorical(17), head=0.4)


def test_every_variance_and_clip_mode_has_the_same_first_term_and_none_is_searched_for():
    fits, nfe = fit(model(), pictures(), everything(), "cpu", (False, True))
    assert nfe == 20 * 12  # no evaluation more than the design's
    assert all(math.isfinite(fitted.first) for fitted in fits.values())
    fixed = {"fixed_beta": FixedBeta(ddpm_t1=False), "fixed_beta_tilde": FixedBetaTilde()}
    modes = {clip: Extras({**fixed, "optimal": fits[clip].variance()}) for clip in (False, True)}
    tables = [variance_table(add_up(e)) for e in evaluate_modes(model(), pictures(), everything(), "cpu", modes)]
    first = [table[name][0] for table in tables for name in (*fixed, "optimal", "own")]
    assert first[0] > 0.1 and len(set(first)) == 1
    assert tables[0]["fixed_beta"][1] != tables[0]["fixed_beta_tilde"][1]


def test_a_part_of_the_chain_keeps_its_first_term():
    whole, part = (
        add_up(evaluate_modes(model(schedule), pictures(), everything(), "cpu", {False: Extras()})[0])
        for schedule in (cosine(12), cosine(12).respace(torch.tensor([1, 5, 12])))
    )
    np.testing.assert_allclose(part.per_t["nats"].mean[1], whole.per_t["nats"].mean[1], rtol=1e-6)


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("make", [Ancestral, lambda **keys: Ddim(eta=0.0, **keys)])
def test_samples_end_in_the_mean_over_levels_whatever_the_network_says_last(make, steps):
    """The network learns nothing at t = 1: there it is made to say nonsense, and is not listened to."""
    diffusion = model(cosine(1000).respace(torch.tensor([1, 100, 400, 700, 1000])))
    network, log_snr_1, seen = diffusion.model, diffusion.schedule.log_snr[1], []

    def wild(x_t: Tensor, log_snr: Tensor, cond: Tensor | None) -> Tensor:
        seen.append(x_t)
        return network(x_t, log_snr, cond) + 100 * (log_snr == log_snr_1.float()).float().reshape(-1, 1, 1)

    sampler = make(steps=steps, count=6, clip_x0=True, guidance=1.0)
    x = sampler.sample(replace(diffusion, model=wild), (2, 3), seed=0)
    assert torch.equal(x, sampler.sample(diffusion, (2, 3), seed=0))
    p = brute_force(17, float(log_snr_1), seen[-1].double().reshape(-1, 1)).exp()
    torch.testing.assert_close(x.double().reshape(-1), (p * grid(17)).sum(1), rtol=0, atol=1e-6)
    assert len(((x + 1) * 8).round().unique()) > 3


@pytest.mark.parametrize("levels", [None, 1])
def test_continuous_data_has_no_levels(levels):
    with pytest.raises(ConfigError, match="decoder=gaussian"):
        Categorical(levels)
    assert Categorical(17).unit == BITS and Categorical(17).clips
