"""Objectives that weigh noise levels: the published weights, in every parameterization, and the bound as a limit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from difflab.errors import ConfigError
from difflab.gaussian import BITS
from difflab.objective._surrogate import Surrogate, simple_loss
from difflab.objective.min_snr import MinSnr
from difflab.objective.p2 import P2
from difflab.objective.sigmoid import Sigmoid
from difflab.objective.vlb import Vlb
from difflab.prediction import Prediction
from difflab.schedule._continuous import Continuous
from difflab.schedule.base import Schedule
from difflab.variance.base import Variance
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from difflab.variance.learned_range import LearnedRange
from tests.analytic import (
    PARAMETERIZATIONS,
    SCHEDULES,
    TO_ZERO,
    constant,
    cosine,
    diffusion_of,
    predict_at,
    random_pair,
    shrinking,
    terms_at,
    times,
)
from tests.objective.test_objective import DECODER, DIMS, SCHEDULE, Network, batch, diffusion, gradients
from tests.objective.test_objective import T as SHORT

T = 40
FIXED, LEARNED = FixedBeta(ddpm_t1=False), LearnedRange()


def min_snr(variance: Variance = FIXED, vlb_weight: float = 0.0, schedule: Schedule = SCHEDULE, gamma=5.0) -> MinSnr:
    return MinSnr(DECODER, schedule, variance, gamma=gamma, vlb_weight=vlb_weight)


def p2(variance: Variance = FIXED, vlb_weight: float = 0.0, schedule: Schedule = SCHEDULE, k=1.0, gamma=1.0) -> P2:
    return P2(DECODER, schedule, variance, k=k, gamma=gamma, vlb_weight=vlb_weight)


def sigmoid(variance: Variance = FIXED, vlb_weight: float = 0.0, schedule: Schedule = SCHEDULE, bias=2.0) -> Sigmoid:
    return Sigmoid(DECODER, schedule, variance, bias=bias, vlb_weight=vlb_weight)


OBJECTIVES = {"min_snr": min_snr, "p2": p2, "sigmoid": sigmoid}


def weights(make, kind: str, schedule: Schedule) -> Tensor:
    """What each t's own mean squared error is multiplied by, [T]."""
    x0, eps = random_pair((schedule.T, DIMS))
    prediction = predict_at(diffusion_of(shrinking, schedule, kind), x0, eps, times(schedule.T, 1))
    return make(schedule=schedule)(prediction, x0, eps).loss / simple_loss(prediction, x0, eps)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_has_the_published_weights(name, gamma):
    """Hang et al.: min(SNR, gamma) for x0, min(SNR, gamma) / SNR for eps, min(SNR, gamma) / (SNR + 1) for v."""
    schedule = SCHEDULES[name](T)
    snr = torch.exp(schedule.log_snr[1:])
    assert float(snr.min()) < gamma < float(snr.max())
    capped = torch.minimum(snr, torch.tensor(gamma))
    c0 = schedule.step(times(T, 1)).c0
    published = {"x0": capped, "eps": capped / snr, "v": capped / (snr + 1), "mu": capped / c0**2}
    for kind, weight in published.items():
        made = weights(lambda schedule: min_snr(schedule=schedule, gamma=gamma), kind, schedule)
        torch.testing.assert_close(made, weight, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("k", "gamma"), [(1.0, 1.0), (1.0, 0.5), (0.3, 2.0), (1.0, 0.0)])
def test_p2_has_the_published_weights(name, k, gamma):
    """Choi et al.: 1 / (k + SNR)^gamma for eps; that of x0 is SNR times as much, that of v SNR / (SNR + 1) times."""
    schedule = SCHEDULES[name](T)
    snr = torch.exp(schedule.log_snr[1:])
    published = {
        "eps": (k + snr) ** -gamma,
        "x0": snr * (k + snr) ** -gamma,
        "v": snr / (snr + 1) * (k + snr) ** -gamma,
    }
    for kind, weight in published.items():
        made = weights(lambda schedule: p2(schedule=schedule, k=k, gamma=gamma), kind, schedule)
        torch.testing.assert_close(made, weight, rtol=1e-9, atol=0)


@pytest.mark.parametrize("bias", [-3.0, 2.0, 6.0])
def test_sigmoids_weight_is_the_integral_over_each_steps_log_snr(bias):
    """T times 1/2 int sigmoid(bias - l) e^l dl in bits, by a fine midpoint rule; at t = 1 as wide as the next step."""
    schedule = cosine(T)
    top = schedule.log_snr.clone()
    top[0] = 2 * top[1] - top[2]
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    low, high = top[1:, None], top[:-1, None]
    points = low + (high - low) * u
    integral = (torch.sigmoid(bias - points) * torch.exp(points)).mean(1) * (high - low)[:, 0]
    made = weights(lambda schedule: sigmoid(schedule=schedule, bias=bias), "x0", schedule)
    torch.testing.assert_close(made, 0.5 * T * integral / math.log(2), rtol=1e-6, atol=0)


@pytest.mark.parametrize("make", [cosine, TO_ZERO["cosine"]])
def test_in_continuous_time_sigmoids_weight_is_that_integral_on_average_over_the_drawn_level(make):
    chain = make(T)
    edges, objective = Continuous(chain), sigmoid(schedule=chain, bias=2.0)
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    t = times(T, 4000)
    drawn = torch.exp(objective.log_weight(edges.drawn(t, u.repeat(T)))).reshape(T, -1).mean(1)
    torch.testing.assert_close(drawn, torch.exp(objective.log_weight(chain.step(times(T, 1)))), rtol=1e-5, atol=0)


def test_with_a_large_bias_sigmoid_is_the_bound_of_beta_tilde():
    schedule = cosine(T)
    x0, eps = random_pair((T, DIMS))
    for kind in PARAMETERIZATIONS:
        prediction = predict_at(diffusion_of(shrinking, schedule, kind, FixedBetaTilde()), x0, eps, times(T, 1))
        ours = sigmoid(schedule=schedule, bias=60.0)(prediction, x0, eps).loss
        bound = Vlb(DECODER, schedule)(prediction, x0, eps).loss
        torch.testing.assert_close(ours[1:], bound[1:], rtol=1e-9, atol=0)


def test_sigmoid_depends_on_where_the_chain_ends_and_not_on_its_levels():
    """Of a constant prediction, whose error of x0 is the same at every level: sums over t >= 2 of two chains between the
    same ends agree, as their bounds do."""
    x0, eps = random_pair((1, DIMS))
    sums = []
    for stops in ([], [30], list(range(2, 60))):
        schedule = cosine(60).respace(torch.tensor([1, *stops, 60]))
        K = schedule.T
        prediction = predict_at(diffusion_of(constant(0.3), schedule), x0.expand(K, -1), eps.expand(K, -1), times(K, 1))
        loss = sigmoid(schedule=schedule)(prediction, x0.expand(K, -1), eps.expand(K, -1)).loss
        sums.append(float(loss[1:].sum()) / K)
    assert sums[1] == pytest.approx(sums[0], rel=1e-10) and sums[2] == pytest.approx(sums[0], rel=1e-10)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_predictor_has_one_loss_in_all_parameterizations(name):
    x0, eps = random_pair((T, DIMS))
    losses = [
        OBJECTIVES[name](schedule=cosine(T))(
            predict_at(diffusion_of(shrinking, cosine(T), kind), x0, eps, times(T, 1)), x0, eps
        ).loss
        for kind in PARAMETERIZATIONS
    ]
    for loss in losses:
        torch.testing.assert_close(loss, losses[0], rtol=1e-7, atol=0)


@pytest.mark.parametrize("kind", ["x0", "v", "mu"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_weights_are_finite_at_a_terminal_snr_of_0(kind, dtype):
    log_snr = cosine(10).log_snr.clone()
    log_snr[-1] = -math.inf
    schedule = Schedule(log_snr)
    step = schedule.step(torch.tensor([10, 10]))
    x0, eps = random_pair((2, DIMS), dtype=dtype)
    y = torch.zeros_like(x0).requires_grad_()
    excess = torch.zeros(2, 1, dtype=torch.float64)
    prediction = Prediction(y, excess, eps, step, PARAMETERIZATIONS[kind].coefficients(step))
    error = prediction.x0_error(x0, eps).square().mean(1)
    above = float(log_snr[-2])  # 1/2 int of e^l / (1 + e^(l - 2)) from -inf up to here
    expected = {"min_snr": 0.0, "p2": 0.0, "sigmoid": 5 / math.log(2) * math.exp(2) * math.log1p(math.exp(above - 2))}
    for name, make in OBJECTIVES.items():
        loss = make(schedule=schedule)(prediction, x0, eps).loss
        torch.testing.assert_close(loss, expected[name] * error, rtol=1e-5, atol=0)
        (gradient,) = torch.autograd.grad(loss.sum(), y)
        assert bool(gradient.isfinite().all())


# -- a learned variance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_mean_learns_from_the_weighted_error_and_the_variance_from_the_bound(name, kind):
    ours, loss, nats = gradients(diffusion(kind), OBJECTIVES[name](LEARNED, 0.25))
    vlb, vlb_loss, vlb_nats = gradients(diffusion(kind), Vlb(DECODER, SCHEDULE))
    fixed, both = diffusion(kind, learned=False), diffusion(kind)
    assert isinstance(fixed.model, Network) and isinstance(both.model, Network)
    fixed.model.mean.load_state_dict(both.model.mean.state_dict())
    alone, alone_loss, _ = gradients(fixed, OBJECTIVES[name]())
    for parameter in ("mean.weight", "mean.bias"):
        torch.testing.assert_close(ours[parameter], alone[parameter], rtol=1e-12, atol=0)
    for parameter in ("head.weight", "head.bias"):
        torch.testing.assert_close(ours[parameter], 0.25 * vlb[parameter], rtol=1e-10, atol=1e-14)
        assert float(ours[parameter].abs().max()) > 0
    torch.testing.assert_close(loss, alone_loss + 0.25 * vlb_loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(nats, vlb_nats, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_variances_gradient_is_unbiased_for_that_of_the_summed_bound(name):
    """t drawn with any p_t and weighed by 1 / (T p_t), enumerated: the head's gradient is that of vlb_weight times the
    bound in bits/dim."""
    model, (x0, eps, t) = diffusion(), batch()
    assert isinstance(model.model, Network) and model.model.head is not None
    p = torch.rand(SHORT, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    p = p / p.sum()
    step, head = SCHEDULE.step(t), list(model.model.head.parameters())
    loss = OBJECTIVES[name](LEARNED, 0.1)(model(model.process.noised(x0, step.t, eps), step), x0, eps).loss
    drawn = (p[t - 1] / (SHORT * p[t - 1]) * loss).sum()
    bound = BITS.per_dim(terms_at(model, x0, eps, t).nats.sum(), DIMS)
    for a, b in zip(torch.autograd.grad(drawn, head), torch.autograd.grad(bound, head), strict=True):
        torch.testing.assert_close(a, 0.1 * b, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_variance_that_nothing_would_teach_is_refused(name):
    with pytest.raises(ConfigError, match=r"objective\.vlb_weight=0 .*objective\.vlb_weight=0\.001"):
        OBJECTIVES[name](LEARNED, 0.0)
    with pytest.raises(ConfigError, match=r"objective\.vlb_weight=-0\.1"):
        OBJECTIVES[name](FIXED, -0.1)
    assert isinstance(OBJECTIVES[name](FIXED, 0.0), Surrogate)


def test_without_vlb_weight_the_bound_is_measured_without_a_gradient():
    model, (x0, eps, t) = diffusion(learned=False), batch()
    prediction = predict_at(model, x0, eps, t)
    result = min_snr()(prediction, x0, eps)
    torch.testing.assert_close(result.nats, terms_at(model, x0, eps, t).nats.detach(), rtol=1e-12, atol=0)
    wild = min_snr()(replace(prediction, excess=prediction.excess - 1e4), x0, eps)
    assert not bool(wild.nats.isfinite().all()) and bool(wild.loss.isfinite().all())  # infinity times 0 is no 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: min_snr(gamma=0.0), "objective.gamma=0.0"),
        (lambda: p2(k=0.0), "objective.k=0.0"),
        (lambda: p2(gamma=-1.0), "objective.gamma=-1.0"),
        (lambda: sigmoid(bias=1e3), "objective.bias=1000.0"),
    ],
)
def test_values_outside_the_range_are_refused_by_name(make, says):
    with pytest.raises(ConfigError) as refused:
        make()
    assert says in str(refused.value)
