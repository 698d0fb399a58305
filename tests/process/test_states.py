"""Diffusion between states: every formula against an enumeration of a tiny state space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from difflab.bound.terms import bound_term
from difflab.decoder.states import States as StatesDecoder
from difflab.diffusion import Diffusion
from difflab.errors import NotDefined
from difflab.parameterization.x0 import X0
from difflab.process._states import States, StatesReading, states_of, values_of
from difflab.process.absorbing import Absorbing
from difflab.process.binomial import Binomial
from difflab.process.categorical import Categorical
from difflab.sampler.ancestral import Ancestral
from difflab.schedule.base import Schedule
from difflab.schedule.linear_abar import LinearAbar
from difflab.variance.none import NoVariance
from tests.analytic import cosine, log_linear

K, T = 3, 5
PROCESSES: dict[str, States] = {"binomial": Binomial(2), "categorical": Categorical(K), "absorbing": Absorbing(K)}
CASES = [
    pytest.param(process, schedule, id=f"{name}-{kind}")
    for name, process in PROCESSES.items()
    for kind, schedule in {"linear_abar": LinearAbar(T=T), "cosine": cosine(T), "log_linear": log_linear(T)}.items()
    if name != "absorbing" or kind == "linear_abar"
]
ZERO = torch.zeros((), dtype=torch.float64)


def count(process: States) -> int:
    """Of the states of x_t: a mask is one more."""
    return process.levels + isinstance(process, Absorbing)


def matrix(process: States, schedule: Schedule, t: int) -> Tensor:
    """q(x_t|x_{t-1}) [from, to], by the paper's definition: beta_t = 1 - abar_t / abar_{t-1} of the dimensions are drawn anew."""
    abar = torch.sigmoid(schedule.log_snr)
    beta, n = 1 - abar[t] / abar[t - 1], count(process)
    noise = torch.full((n, n), 1 / n, dtype=torch.float64)
    if isinstance(process, Absorbing):
        noise = torch.zeros(n, n, dtype=torch.float64)
        noise[:, process.mask] = 1
    return (1 - beta) * torch.eye(n, dtype=torch.float64) + beta * noise


def cumulative(process: States, schedule: Schedule, t: int) -> Tensor:
    """q(x_t|x_0) [from, to]."""
    total = torch.eye(count(process), dtype=torch.float64)
    for s in range(1, t + 1):
        total = total @ matrix(process, schedule, s)
    return total


def all_x0(process: States) -> Tensor:
    return values_of(torch.arange(process.levels), process.levels)[:, None]


def repeated(schedule: Schedule, t: int, rows: int, s: int | None = None):
    return schedule.step(torch.full((rows,), t), None if s is None else torch.full((rows,), s))


def network(process: States, prior: Tensor) -> Callable[..., Tensor]:
    """What the others say of a dimension of law `prior` [K] that has no others: its log odds, whatever x_t is."""

    def raw(seen: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        log_p = prior.log()
        if isinstance(process, Binomial):
            return (log_p[1] - log_p[0]).expand(seen.shape)
        dims = seen.shape[1] // count(process)
        return torch.nn.functional.pad(log_p, (0, count(process) - process.levels)).repeat(dims).expand(seen.shape)

    return raw


def law(process: States) -> Tensor:
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)[: process.levels]
    return weights / weights.sum()


def model(process: States, schedule: Schedule, prior: Tensor | None = None) -> Diffusion:
    prior = law(process) if prior is None else prior
    return Diffusion(network(process, prior), process, schedule, X0(), NoVariance(), StatesDecoder())


@pytest.mark.parametrize(("process", "schedule"), CASES)
def test_marginals_and_steps_are_the_products_of_the_paper_s_matrices(process: States, schedule: Schedule) -> None:
    x0 = all_x0(process)
    for t in range(1, T + 1):
        expected = cumulative(process, schedule, t)[: process.levels]
        found = process.marginal(x0, schedule.level(torch.full((len(x0),), t)))
        torch.testing.assert_close(found[:, 0], expected, rtol=1e-10, atol=1e-14)
        x_s = torch.arange(count(process))[:, None]
        single = process.step(x_s, repeated(schedule, t, len(x_s)))
        torch.testing.assert_close(single[:, 0], matrix(process, schedule, t), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("process", "schedule"), CASES)
@pytest.mark.parametrize(("s", "t"), [(1, 2), (3, 4), (1, T), (T - 1, T)])
def test_the_posterior_is_bayes_rule(process: States, schedule: Schedule, s: int, t: int) -> None:
    jump = torch.eye(count(process), dtype=torch.float64)
    for u in range(s + 1, t + 1):
        jump = jump @ matrix(process, schedule, u)
    before, after = cumulative(process, schedule, s), cumulative(process, schedule, t)
    for x0, x_t in product(range(process.levels), range(count(process))):
        if not after[x0, x_t]:
            continue
        expected = before[x0] * jump[:, x_t] / after[x0, x_t]
        found = process.posterior(
            values_of(torch.tensor([[x0]]), process.levels), torch.tensor([[x_t]]), repeated(schedule, t, 1, s)
        )
        torch.testing.assert_close(found[0, 0], expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("process", "schedule"), CASES)
def test_terms_are_the_kl_of_enumerated_distributions(process: States, schedule: Schedule) -> None:
    generator = torch.Generator().manual_seed(0)
    for t in range(2, T + 1):
        step, after = repeated(schedule, t, 1), cumulative(process, schedule, t)
        for x0, x_t in product(range(process.levels), range(count(process))):
            if not after[x0, x_t]:
                continue
            log_p = torch.log_softmax(torch.randn(1, 1, process.levels, generator=generator, dtype=torch.float64), -1)
            value, state = values_of(torch.tensor([[x0]]), process.levels), torch.tensor([[x_t]])
            reading = StatesReading(process, log_p, state, step)
            q = process.posterior(value, state, step)[0, 0]
            each = values_of(torch.arange(process.levels)[:, None], process.levels)
            possible = after[: process.levels, x_t] > 0
            posteriors = process.posterior(
                each[possible], state.expand(int(possible.sum()), 1), repeated(schedule, t, int(possible.sum()))
            )
            weights = log_p.exp()[0, 0][possible]
            p = (weights[:, None] * posteriors[:, 0]).sum(0) / (weights.sum() if isinstance(process, Absorbing) else 1)
            torch.testing.assert_close(process.reverse(reading)[0, 0], p, rtol=1e-9, atol=1e-14)
            expected = torch.where(q > 0, q * (q.log() - p.log()), ZERO).sum()
            nats = reading.transition_kl(value, value)
            torch.testing.assert_close(nats.mean_error[0], expected, rtol=1e-9, atol=1e-13)
            assert not float(nats.variance_mismatch[0])


@pytest.mark.parametrize(("process", "schedule"), CASES)
def test_the_prior_term_is_the_kl_to_the_known_distribution(process: States, schedule: Schedule) -> None:
    x0 = all_x0(process)
    q = cumulative(process, schedule, T)[: process.levels]
    p = torch.full_like(q, 1 / q.shape[1])
    if isinstance(process, Absorbing):
        p = torch.zeros_like(q)
        p[:, process.mask] = 1
    expected = torch.where(q > 0, q * (q.log() - p.log()), ZERO).sum(1)
    found = process.prior_kl(x0, schedule.level(torch.full((len(x0),), T)))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-15)


def expected_bound(diffusion: Diffusion, prior: Tensor) -> Tensor:
    """Of one dimension: E over x_0 and x_t, enumerated, of the terms that the estimators average."""
    process, schedule = diffusion.process, diffusion.schedule
    assert isinstance(process, States)
    total = (prior * process.prior_kl(all_x0(process), schedule.level(torch.full((process.levels,), T)))).sum()
    for t in range(1, T + 1):
        after = cumulative(process, schedule, t)
        for x0, x_t in product(range(process.levels), range(count(process))):
            if after[x0, x_t]:
                value = values_of(torch.tensor([[x0]]), process.levels)
                reading = diffusion(torch.tensor([[x_t]]), repeated(schedule, t, 1))
                total = (
                    total + prior[x0] * after[x0, x_t] * bound_term(diffusion.decoder, reading, value, value).nats[0]
                )
    return total


@pytest.mark.parametrize(("process", "schedule"), CASES)
def test_the_sum_of_terms_is_the_bound_over_enumerated_paths(process: States, schedule: Schedule) -> None:
    """E_q[log q(x_1..x_T|x_0) - log p(x_0..x_T)] over all paths, of a network that is wrong."""
    prior, wrong = law(process), law(process).flip(0)
    diffusion = model(process, schedule, wrong)
    reverse = {}
    for t in range(1, T + 1):
        for x_t in range(count(process)):
            reading = diffusion(torch.tensor([[x_t]]), repeated(schedule, t, 1))
            assert isinstance(reading, StatesReading)
            p = process.x0_probabilities(reading) if t == 1 else process.reverse(reading)
            reverse[t, x_t] = p[0, 0]
    steps = [matrix(process, schedule, t) for t in range(1, T + 1)]
    known = torch.full((count(process),), 1 / process.levels, dtype=torch.float64)
    if isinstance(process, Absorbing):
        known = torch.zeros(count(process), dtype=torch.float64)
        known[process.mask] = 1
    total = ZERO
    for path in product(range(process.levels), *[range(count(process))] * T):
        q = math.prod(float(step[a, b]) for step, (a, b) in zip(steps, pairwise(path), strict=True))
        if q:
            p = math.prod(float(reverse[t, path[t]][path[t - 1]]) for t in range(1, T + 1)) * float(known[path[-1]])
            total = total + prior[path[0]] * q * (math.log(q) - math.log(p))
    torch.testing.assert_close(expected_bound(diffusion, prior), total, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("process", "schedule"), CASES)
def test_the_exact_network_s_bound_is_the_entropy_and_what_is_left_at_the_end(
    process: States, schedule: Schedule
) -> None:
    """Of one dimension p(x_s|x_t) is exact, for every T: L = H(x_0) + KL(q(x_T) || p(x_T))."""
    prior = law(process)
    last = prior @ cumulative(process, schedule, T)[: process.levels]
    known = torch.full_like(last, 1 / len(last))
    if isinstance(process, Absorbing):
        known = torch.nn.functional.one_hot(torch.tensor(process.mask), count(process)).double()
    left = torch.where(last > 0, last * (last.log() - known.log()), ZERO).sum()
    entropy = -(prior * prior.log()).sum()
    torch.testing.assert_close(expected_bound(model(process, schedule), prior), entropy + left, rtol=1e-6, atol=0)
    assert float(expected_bound(model(process, schedule, prior.flip(0)), prior)) > float(entropy + left) + 1e-3


def test_a_thousand_small_terms_lose_no_digits() -> None:
    process, schedule = Categorical(K), cosine(1000)
    log_p = torch.log_softmax(torch.tensor([[[0.1, -0.3, 0.2]]], dtype=torch.float64), -1)
    x0, x_t = values_of(torch.tensor([[1]]), K), torch.tensor([[1]])
    reading = StatesReading(process, log_p, x_t, repeated(schedule, 2, 1))
    q, p = process.posterior(x0, x_t, reading.step)[0, 0], process.reverse(reading)[0, 0]
    exact = sum(float(a) * math.log1p(float(a - b) / float(b)) for a, b in zip(q, p, strict=True))
    found = float(reading.transition_kl(x0, x0).mean_error)
    assert found >= 0 and found == pytest.approx(exact, rel=1e-4)
    same = StatesReading(process, torch.log(torch.tensor([[[0.0, 1.0, 0.0]]], dtype=torch.float64)), x_t, reading.step)
    assert float(same.transition_kl(x0, x0).mean_error) == 0.0


@pytest.mark.parametrize(("process", "schedule"), CASES)
def test_a_network_that_says_nothing_pays_log_k(process: States, schedule: Schedule) -> None:
    prior, uniform = law(process), torch.full((process.levels,), 1 / process.levels, dtype=torch.float64)
    left = float(process.prior_kl(all_x0(process)[:1], schedule.level(torch.tensor([T])))[0])
    bound = float(expected_bound(model(process, schedule, uniform), prior))
    assert bound <= math.log(process.levels) + left + 1e-9
    if float(schedule.log_snr[-1]) < -20:
        assert bound == pytest.approx(math.log(process.levels), rel=1e-6)


def fits(observed: Tensor, expected: Tensor, total: int) -> None:
    """Chi-squared at one in ten thousand, whose quantile is Wilson & Hilferty's (at most 7% too large)."""
    used = expected > 1e-12
    assert not bool(observed[~used].any())
    statistic = float(((observed - total * expected)[used] ** 2 / (total * expected[used])).sum())
    degrees = max(1, int(used.sum()) - 1)
    assert statistic < degrees * (1 - 2 / (9 * degrees) + 3.719 * math.sqrt(2 / (9 * degrees))) ** 3


@pytest.mark.parametrize(("process", "schedule"), CASES)
def test_noised_states_have_the_marginal_law_and_paths_the_chain_s(process: States, schedule: Schedule) -> None:
    total, generator = 20_000, torch.Generator().manual_seed(1)
    x0 = values_of(torch.full((total, 1), 1), process.levels).float()
    eps = torch.randn(total, 1, generator=generator)
    before = process.noised(x0, schedule.level(torch.full((total,), 1)), eps)
    for t in range(2, T + 1):
        eps = process.carried(eps, repeated(schedule, t, total), torch.randn(total, 1, generator=generator))
        x_t = process.noised(x0, schedule.level(torch.full((total,), t)), eps)
        counts = torch.bincount(x_t[:, 0], minlength=count(process)).double()
        fits(counts, cumulative(process, schedule, t)[1], total)
        for x_s in range(count(process)):
            rows = before[:, 0] == x_s
            if int(rows.sum()) > 500:
                after = torch.bincount(x_t[rows, 0], minlength=count(process)).double()
                fits(after, matrix(process, schedule, t)[x_s], int(rows.sum()))
        before = x_t


@pytest.mark.parametrize(("process", "schedule"), CASES)
def test_samples_of_the_exact_network_have_the_data_s_law(process: States, schedule: Schedule) -> None:
    if float(schedule.log_snr[-1]) > -4:
        pytest.skip("this chain does not end in its prior")
    sampler = Ancestral(steps=None, count=5000, clip_x0=True, guidance=1.0)
    x = sampler.sample(model(process, schedule), (2,), seed=0)
    assert x.dtype == torch.float32
    found = torch.bincount(states_of(x, process.levels).flatten(), minlength=process.levels).double()
    fits(found, law(process), 10_000)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_what_a_network_sees_has_a_channel_for_each_state(process: States) -> None:
    x = torch.arange(process.levels).repeat(2).reshape(2, process.levels, 1, 1).expand(2, process.levels, 4, 3)
    seen, (shape, levels) = process.seen(x), process.seen_as((process.levels, 4, 3), process.levels)
    assert seen.dtype == torch.float32 and tuple(seen.shape[1:]) == shape and levels is None
    logits = process.logits(10.0 * seen)
    assert torch.equal(logits.argmax(-1), x)


def test_gradients_are_finite_and_reach_the_network() -> None:
    for process in PROCESSES.values():
        schedule = LinearAbar(T=T)
        raw = torch.randn(T, 4 * (1 if isinstance(process, Binomial) else count(process)), requires_grad=True)
        x0 = values_of(torch.randint(0, process.levels, (T, 4)), process.levels).float()
        step = schedule.step(torch.arange(1, T + 1))
        reading = process.read(raw, process.noised(x0, step.t, torch.randn(T, 4)), step, X0(), NoVariance())
        bound_term(StatesDecoder(), reading, x0, x0).nats.sum().backward()
        assert raw.grad is not None and bool(raw.grad.isfinite().all()) and bool((raw.grad != 0).any())


def test_refusals() -> None:
    with pytest.raises(NotDefined, match="process=gaussian"):
        Categorical(None)
    with pytest.raises(NotDefined, match="process=categorical"):
        Binomial(17)
    with pytest.raises(NotDefined, match="schedule=linear_abar"):
        Absorbing(3).check(cosine(10))
    Absorbing(3).check(LinearAbar(T=10))
    reading = replace(
        StatesReading(Categorical(3), torch.zeros(1, 1, 3), torch.zeros(1, 1), LinearAbar(T=2).step(torch.tensor([1])))
    )
    with pytest.raises(TypeError):
        reading.clipped()
