"""y = p x_0 + q eps, and the ways back from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from difflab.prediction import Prediction
from tests.analytic import (
    PARAMETERIZATIONS,
    SCHEDULES,
    Analytic,
    column,
    diffusion_of,
    predict_at,
    random_pair,
    shrinking,
    times,
)

T, ROWS = 1000, 2
every = [(name, kind) for name in SCHEDULES for kind in PARAMETERIZATIONS]


def truth(name: str, kind: str) -> tuple[Prediction, torch.Tensor, torch.Tensor]:
    """The prediction of a network that says the target itself."""
    schedule = SCHEDULES[name](T)
    x0, eps = random_pair((T * ROWS, 6))
    step = schedule.step(times(T, ROWS))
    x_t = column(step.t.alpha, x0) * x0 + column(step.t.sigma, x0) * eps
    coefficients = PARAMETERIZATIONS[kind].coefficients(step)
    y = column(coefficients.p, x0) * x0 + column(coefficients.q, x0) * eps
    return Prediction(y, torch.zeros(len(y), 1, dtype=torch.float64), x_t, step, coefficients), x0, eps


@pytest.mark.parametrize("name, kind", every)
def test_the_target_gives_back_x0_eps_and_the_posterior_mean(name, kind):
    prediction, x0, eps = truth(name, kind)
    step, (p, _, det) = prediction.step, prediction.coefficients
    assert torch.equal(prediction.target(x0, eps), prediction.y)
    torch.testing.assert_close(prediction.x0_hat(), x0, rtol=0, atol=1e-8)
    eps_hat = (column(p, x0) * prediction.x_t - column(step.t.alpha, x0) * prediction.y) / column(det, x0)
    torch.testing.assert_close(eps_hat, eps, rtol=0, atol=1e-8)
    mu_tilde = column(step.c0, x0) * x0 + column(step.ct, x0) * prediction.x_t
    torch.testing.assert_close(prediction.mean(), mu_tilde, rtol=0, atol=1e-12)
    assert (
        float(prediction.x0_error(x0, eps).abs().max()) == 0 == float(prediction.mean_difference(x0, eps).abs().max())
    )


@pytest.mark.parametrize("name, kind", every)
def test_the_mean_of_an_imperfect_network_is_c0_x0_hat_plus_ct_x_t(name, kind):
    x0, eps = random_pair((T * ROWS, 6))
    prediction = predict_at(diffusion_of(shrinking, SCHEDULES[name](T), kind), x0, eps, times(T, ROWS))
    step, x_t = prediction.step, prediction.x_t
    x0_hat = shrinking(x_t, step.t)
    torch.testing.assert_close(prediction.x0_hat(), x0_hat, rtol=1e-8, atol=1e-8)
    c0, ct = column(step.c0, x0), column(step.ct, x0)
    torch.testing.assert_close(prediction.mean(), c0 * x0_hat + ct * x_t, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(prediction.x0_error(x0, eps), x0 - x0_hat, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(prediction.mean_difference(x0, eps), c0 * (x0 - x0_hat), rtol=1e-8, atol=1e-11)
    clipped = prediction.clipped()
    bounded = x0_hat.clamp(-1, 1)
    torch.testing.assert_close(clipped.x0_hat(), bounded, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(clipped.mean(), c0 * bounded + ct * x_t, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(clipped.mean_difference(x0, eps), c0 * (x0 - bounded), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name, kind", every)
def test_det_is_p_sigma_minus_q_alpha(name, kind):
    step = SCHEDULES[name](T).step(times(T, 1))
    p, q, det = PARAMETERIZATIONS[kind].coefficients(step)
    torch.testing.assert_close(det, p * step.t.sigma - q * step.t.alpha, rtol=1e-6, atol=1e-13)
    assert bool((det != 0).all())


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_mean_error_weights_are_the_papers(name):
    """mu_tilde - m = k (target - y), theory section 2; eps: DDPM eq. 12."""
    step = SCHEDULES[name](T).step(times(T, 1))
    beta, sigma = step.log_beta.exp(), step.t.sigma
    expected = {
        "eps": beta / ((1 - beta).sqrt() * sigma),
        "x0": step.c0,
        "mu": torch.ones(T, dtype=torch.float64),
        "v": step.c0 * sigma,
    }
    for kind, k in expected.items():
        ours = step.c0 * sigma / PARAMETERIZATIONS[kind].coefficients(step).det
        torch.testing.assert_close(ours.abs(), k, rtol=1e-8, atol=0)


def test_the_eps_spike_at_the_end_of_cosine_is_real():
    step = SCHEDULES["cosine"](T).step(torch.tensor([T]))
    k = step.c0 * step.t.sigma / PARAMETERIZATIONS["eps"].coefficients(step).det
    assert float(0.5 * k**2 / step.log_beta.exp()) == pytest.approx(499.5, rel=1e-3)


def test_the_model_is_told_the_log_snr_in_float32():
    seen = {}

    def model(x_t, log_snr, cond):
        seen.update(log_snr=log_snr, cond=cond)
        return Analytic(shrinking, schedule, PARAMETERIZATIONS["v"])(x_t, log_snr, cond)

    schedule = SCHEDULES["cosine"](10)
    diffusion = replace(diffusion_of(shrinking, schedule), model=model)
    t, cond = torch.tensor([1, 10]), torch.tensor([3, 4])
    diffusion(torch.zeros(2, 3), schedule.step(t), cond)
    assert torch.equal(seen["log_snr"], schedule.log_snr[t].float()) and seen["cond"] is cond
