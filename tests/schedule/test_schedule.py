"""Tables: against the classical formulas, their identities, their refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from difflab.build import build
from difflab.diffusion import Diffusion
from difflab.errors import ConfigError
from difflab.schedule.base import Schedule, log_snr_from_betas
from difflab.schedule.cosine import Cosine
from difflab.schedule.linear import Linear
from difflab.schedule.sigmoid import Sigmoid
from tests.analytic import SCHEDULES, cosine, linear, log_linear, sigmoid, times


def classical_betas(name: str, T: int) -> np.ndarray:
    """As improved-diffusion, Chen's algorithm 1 and VDM's equation 4 write them, in extended precision."""
    if name == "linear":
        return np.linspace(np.longdouble(1e-4) * 1000 / T, np.longdouble(0.02) * 1000 / T, T, dtype=np.longdouble)
    if name in ("sigmoid", "log_linear"):
        abar = np.concatenate([[np.longdouble(1)], sigmoid_abar(T) if name == "sigmoid" else log_linear_abar(T)])
        return 1 - abar[1:] / abar[:-1]
    x = (np.arange(T + 1, dtype=np.longdouble) / T + np.longdouble(0.008)) / np.longdouble(1.008)
    f = np.cos(x * np.longdouble(np.pi) / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], np.longdouble(0.999))


def sigmoid_abar(T: int, start: float = -3, end: float = 3, tau: float = 1, clip_min: float = 1e-9) -> np.ndarray:
    """Chen 2023, algorithm 1, at t/T = 1/T .. 1."""
    t = np.arange(1, T + 1, dtype=np.longdouble) / T
    v_start, v_end, v = (1 / (1 + np.exp(-x / np.longdouble(tau))) for x in (start, end, t * (end - start) + start))
    return np.clip((v_end - v) / (v_end - v_start), clip_min, 1)


def log_linear_abar(T: int) -> np.ndarray:
    """VDM: alpha^2 = sigmoid(-gamma), gamma from -13.3 to 5."""
    return 1 / (1 + np.exp(np.linspace(np.longdouble(-13.3), np.longdouble(5), T, dtype=np.longdouble)))


@pytest.mark.parametrize("name, T", [(n, T) for n in SCHEDULES for T in (21, 1000, 4000)] + [("cosine", 2)])
def test_the_tables_equal_the_classical_products(name, T):
    betas = classical_betas(name, T)
    abar = np.cumprod(1 - betas)
    before = np.concatenate([[1.0], abar[:-1]])
    step = SCHEDULES[name](T).step(times(T, 1))
    expected = {
        "beta": betas,
        "beta_tilde": betas * (1 - before) / (1 - abar),
        "c0": np.sqrt(before) * betas / (1 - abar),
        "ct": np.sqrt(1 - betas) * (1 - before) / (1 - abar),
        "alpha": np.sqrt(abar),
        "sigma": np.sqrt(1 - abar),
    }
    ours = {
        "beta": step.log_beta.exp(),
        "beta_tilde": torch.where(step.is_first, 0.0, step.log_beta_tilde.exp()),
        "c0": step.c0,
        "ct": step.ct,
        "alpha": step.t.alpha,
        "sigma": step.t.sigma,
    }
    for key, values in expected.items():
        np.testing.assert_allclose(ours[key].numpy(), values.astype(np.float64), rtol=1e-9, atol=1e-300, err_msg=key)
    assert all(value.dtype == torch.float64 for value in ours.values())


@pytest.mark.parametrize("T", [1, 2, 1000, 4000])
def test_the_log_snr_falls_from_infinity(T):
    log_snr = cosine(T).log_snr
    assert len(log_snr) == T + 1 and log_snr[0] == torch.inf
    assert bool((log_snr.diff() < 0).all()) and bool(torch.isfinite(log_snr[1:]).all())


def test_at_the_first_step_beta_tilde_reads_beta_tilde_2():
    step = linear(1000).step(torch.tensor([1, 2]))
    assert float(step.log_beta_tilde[0]) == float(step.log_beta_tilde[1])
    assert step.is_first.tolist() == [True, False]
    assert float(step.log_beta[0].exp()) == pytest.approx(1e-4, rel=1e-9)
    assert float(step.log_ratio[0]) == pytest.approx(float(step.log_beta[0] - step.log_beta_tilde[1]), rel=1e-12)


def test_a_chain_of_one_step_reads_beta_1():
    step = cosine(1).step(torch.tensor([1]))
    assert float(step.log_beta_tilde) == float(step.log_beta) == pytest.approx(np.log(0.999), rel=1e-9)
    assert float(step.log_ratio) == 0 and float(step.c0) == 1 and float(step.ct) == 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_beta_tilde_never_exceeds_beta(name):
    step = SCHEDULES[name](1000).step(times(1000, 1))
    assert bool((step.log_ratio > 0).all())
    torch.testing.assert_close(step.log_ratio, step.log_beta - step.log_beta_tilde, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("T", [1, 5, 20])
def test_linear_refuses_short_chains_and_names_the_shortest(T):
    with pytest.raises(ConfigError, match=rf"schedule\.T={T} .*at least 21"):
        linear(T)
    assert linear(21).T == 21


@pytest.mark.parametrize("last_beta, smallest", [(0.001, 2), (0.0205, 21), (0.03, 31), (0.5, 501)])
def test_linears_shortest_chain_follows_its_end_point(last_beta, smallest):
    linear(smallest, 1e-4, last_beta)
    with pytest.raises(ConfigError, match=f"at least {smallest}"):
        linear(smallest - 1, 1e-4, last_beta)


@pytest.mark.parametrize(
    "build, key",
    [
        (lambda: Linear(T=100, first_beta=0.0, last_beta=0.02, zero_terminal=False), "first_beta=0.0"),
        (lambda: Linear(T=100, first_beta=0.03, last_beta=0.02, zero_terminal=False), "first_beta=0.03"),
        (lambda: Cosine(T=0, s=0.008, max_beta=0.999, zero_terminal=False), "T=0"),
        (lambda: Cosine(T=2.5, s=0.008, max_beta=0.999, zero_terminal=False), "T=2.5"),  # type: ignore[arg-type]
        (lambda: Cosine(T=10, s=-0.1, max_beta=0.999, zero_terminal=False), "s=-0.1"),
        (lambda: Cosine(T=10, s=float("nan"), max_beta=0.999, zero_terminal=False), "s=nan"),
        (lambda: Cosine(T=10, s=0.008, max_beta=1.0, zero_terminal=False), "max_beta=1.0"),
        (lambda: sigmoid(0), "T=0"),
        (lambda: sigmoid(10, tau=0.0), "tau=0.0"),
        (lambda: sigmoid(10, tau=float("nan")), "tau=nan"),
        (lambda: sigmoid(10, min_abar=0.0), "min_abar=0.0"),
        (lambda: sigmoid(10, min_abar=0.5), "min_abar=0.5: abar falls below it before the last step"),
        (lambda: sigmoid(10, tau=0.1), "schedule.tau=0.1"),
        (lambda: Sigmoid(T=9, start=1.0, end=1.0, tau=1.0, min_abar=1e-9, zero_terminal=False), "start=1.0"),
        (lambda: log_linear(1), "T=1"),
        (lambda: log_linear(10, first=-5.0), "first_log_snr=-5.0"),
    ],
)
def test_impossible_values_are_refused_by_name(build, key):
    with pytest.raises(ConfigError, match=key):
        build()


def test_a_table_that_does_not_fall_is_refused():
    for bad in ([3.0, 3.0], [1.0, 2.0], [1.0, float("nan")]):
        with pytest.raises(ConfigError, match="fall"):
            type("Odd", (Schedule,), {})(torch.tensor([torch.inf, *bad], dtype=torch.float64))


def test_beta_and_log_snr_are_each_others_inverse():
    betas = torch.logspace(-12, -1e-4, 300, dtype=torch.float64)
    schedule = type("Some", (Schedule,), {})(log_snr_from_betas(betas[:200]))
    torch.testing.assert_close(schedule.step(times(200, 1)).log_beta.exp(), betas[:200], rtol=1e-10, atol=0)


@pytest.mark.parametrize("T", [1, 2, 3, 50, 1000])
def test_even_respacing_keeps_both_ends_and_visits_distinct_times(T):
    schedule = cosine(T)
    for steps in range(1, T + 1, max(1, T // 60)):
        even = schedule.even(steps)
        assert len(even) == steps and int(even[-1]) == T and (steps == 1 or int(even[0]) == 1)
        assert bool((even.diff() > 0).all())
    assert torch.equal(schedule.even(T), torch.arange(1, T + 1))
    for steps in (0, T + 1):
        with pytest.raises(ConfigError, match=f"{steps} steps.*1..{T}"):
            schedule.even(steps)


def test_a_respaced_chain_is_the_same_levels_jumped_over():
    schedule, visited = linear(100), torch.tensor([1, 10, 55, 100])
    short = schedule.respace(visited)
    assert short.T == 4
    jumps = schedule.step(visited[1:], visited[:-1])
    own = short.step(torch.arange(2, 5))
    for name in ("c", "c0", "ct", "log_beta", "log_beta_tilde"):
        assert torch.equal(getattr(jumps, name), getattr(own, name)), name
    one = torch.tensor(
        [1]
    )  # p(x_0|x_1) is the whole chain's: what is read for beta_tilde_1 does not depend on the jumps
    assert float(short.step(one).log_beta_tilde) == float(schedule.step(one).log_beta_tilde)
    late = schedule.respace(visited[1:])  # without t = 1 the chain has an end of its own
    assert float(late.step(one).log_beta_tilde) == float(late.step(one + 1).log_beta_tilde)


@pytest.mark.parametrize("name", ["eps", "x0", "mu", "v"])
def test_a_network_of_the_full_chain_says_the_same_x0_on_a_part_of_it(name: str) -> None:
    """mu's target depends on s: on a respaced chain it must still be read as the training chain's."""
    full = build("schedule", {"name": "cosine", "T": 200, "s": 0.008, "max_beta": 0.999, "zero_terminal": False})
    parameterization, kept = build("parameterization", {"name": name}), full.even(10)
    part = full.respace(kept)
    x0, eps = torch.randn(2, 10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p, q, _ = parameterization.coefficients(full.step(kept))
    said = p[:, None] * x0 + q[:, None] * eps  # what the network learned to say at these t
    diffusion = Diffusion(
        lambda x, level, cond: said, build("process", {"name": "gaussian"}), part, parameterization,
        build("variance", {"name": "fixed_beta_tilde"}), build("decoder", {"name": "gaussian"}),
    )  # fmt: skip
    step = part.step(torch.arange(1, 11))
    x_t = diffusion.process.noised(x0, step.t, eps)
    prediction = diffusion(x_t, step)
    torch.testing.assert_close(prediction.x0_hat(), x0, rtol=0, atol=1e-6)
    posterior = diffusion.process.posterior(x0, x_t, step)
    torch.testing.assert_close(prediction.mean(), posterior.mean, rtol=0, atol=1e-6)
