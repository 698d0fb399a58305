"""A schedule that learns: strictly falling whatever its parameters, with the exact bound's gradient, down to the best chain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.diffusion import Diffusion
from difflab.errors import ConfigError
from difflab.gaussian import BITS
from difflab.objective.hybrid import Hybrid
from difflab.objective.vlb import Vlb
from difflab.process.gaussian import Gaussian
from difflab.schedule.base import Schedule
from difflab.schedule.learned import FAR, Learned
from difflab.timestep.full_chain import FullChain
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from difflab.variance.learned_range import LearnedRange
from difflab.variance.optimal import Optimal
from tests.analytic import (
    NORMAL,
    PARAMETERIZATIONS,
    ExactVariance,
    Normal,
    diffusion_of,
    expected_terms,
    log_linear,
    random_pair,
    shrinking,
    times,
)


def learned(T: int, pieces: int = 3, speed: float = 1.0, first: float = 6.0, last: float = -4.0) -> Learned:
    """speed = 1: the gradient of its parameters is that of the table, unscaled."""
    return Learned(T=T, first_log_snr=first, last_log_snr=last, pieces=pieces, speed=speed).double()


def bound(diffusion: Diffusion, nodes: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The exact expected bound in nats, with its graph (analytic.expected_bound)."""
    x0, _, weight = nodes
    top = diffusion.schedule.level(torch.full((len(x0),), diffusion.schedule.T))
    return (diffusion.process.prior_kl(x0, top) * weight).sum() + expected_terms(diffusion, nodes).sum()


@pytest.mark.parametrize(("T", "pieces"), [(2, 32), (3, 2), (20, 32), (1000, 32), (1000, 7)])
def test_it_begins_as_log_linear(T, pieces):
    ours = Learned(T=T, first_log_snr=13.3, last_log_snr=-5.0, pieces=pieces, speed=30.0)
    fixed = log_linear(T)
    torch.testing.assert_close(ours.log_snr, fixed.log_snr, rtol=0, atol=1e-5)  # float32 parameters
    assert ours.T == T == len(ours.original) - 1
    torch.testing.assert_close(ours.first_log_var, fixed.first_log_var, rtol=0, atol=1e-5)
    assert torch.equal(ours.learned_from[1:].detach(), ours.log_snr[:-1].detach())


@pytest.mark.parametrize("T", [2, 5, 50, 2000])
def test_it_falls_strictly_whatever_its_parameters(T):
    generator = torch.Generator().manual_seed(0)
    for size in (1e-2, 1.0, 10.0, 1e3, 1e30):
        for _ in range(5):
            ours = Learned(T=T, first_log_snr=13.3, last_log_snr=-5.0, pieces=32, speed=30.0)
            with torch.no_grad():
                ours.rate.copy_(size * torch.randn(ours.rate.shape, generator=generator))
            table = ours.log_snr.detach()
            assert bool((table.diff() < 0).all() and table[1:].isfinite().all())
            assert float(table[1]) <= FAR and float(table[1] - table[-1]) < 2 * FAR + 1
            assert bool((ours.step(times(T, 1)).c > 0).all())
    with pytest.raises(ConfigError, match="schedule.first_log_snr=3"):
        learned(5, first=3, last=3)
    with pytest.raises(ConfigError, match="schedule.pieces=0"):
        learned(5, pieces=0)


def test_a_level_moves_with_its_pieces_and_each_gradient_is_right():
    ours = learned(8)
    rate = ours.rate.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda r: with_rate(ours, r).log_snr[1:], (rate,))
    jacobian = torch.autograd.functional.jacobian(lambda r: with_rate(ours, r).log_snr[1:], rate)
    assert float(jacobian[0, 1].abs()) < 1e-12 and bool((jacobian[1:, 1] < 0).all())  # the span moves all but the first
    assert bool(((jacobian[:, 0] > 0.9) & (jacobian[:, 0] <= 1)).all())


def with_rate(schedule: Learned, rate: Tensor) -> Learned:
    """The same, a function of `rate`."""
    copy = Learned.__new__(Learned)
    copy.__dict__.update(schedule.__dict__)
    copy._parameters = {}
    copy.__dict__["rate"] = rate
    return copy


VARIANCES = {
    "fixed_beta": lambda schedule: FixedBeta(ddpm_t1=False),
    "fixed_beta_tilde": lambda schedule: FixedBetaTilde(),
    "learned_range": lambda schedule: LearnedRange(),
    "optimal": lambda schedule: Optimal(
        learned(schedule.T, first=6.3, last=-4.4)
    ),  # fitted where the chain no longer is
}


@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_its_gradient_is_that_of_the_exact_bound(variance, kind):
    """Autograd against finite differences: nothing is cut off, and the infinite log SNR at s = 0 makes no NaN."""
    base = learned(5)
    variance = VARIANCES[variance](base)
    nodes = NORMAL.nodes(2)

    def of(rate: Tensor) -> Tensor:
        return bound(diffusion_of(NORMAL.predict, with_rate(base, rate), kind, variance, head=0.3), nodes)

    assert torch.autograd.gradcheck(of, (base.rate.detach().clone().requires_grad_(),), rtol=1e-4)


def test_the_network_is_told_where_it_is():
    """Through its second input as well, and at t = 1 through a decoder on the grid."""
    ours = learned(4)
    by_level = lambda x, log_snr, cond: x * torch.tanh(log_snr / 10)[:, None]  # noqa: E731
    blind = lambda x, log_snr, cond: x * torch.tanh(log_snr.detach() / 10)[:, None]  # noqa: E731
    x0, eps = random_pair((4, 3), dtype=torch.float32)
    x0 = ((x0 + 1) * 8).round() / 8 - 1
    found = []
    for network in (by_level, blind):
        decoder = DiscretizedGaussian(17)
        diffusion = Diffusion(network, Gaussian(), ours, PARAMETERIZATIONS["v"], FixedBeta(ddpm_t1=False), decoder)
        step = ours.step(times(4, 1))
        prediction = diffusion(diffusion.process.noised(x0, step.t, eps), step)
        ours.rate.grad = None
        Vlb(decoder, ours, Gaussian())(prediction, x0, eps).loss.sum().backward()
        assert ours.rate.grad is not None and bool(ours.rate.grad.isfinite().all())
        found.append(ours.rate.grad.clone())
    assert float((found[0] - found[1]).abs().min()) > 1e-6


def test_with_the_exact_reverse_only_the_end_of_the_chain_costs():
    """The bound is entropy + KL(q(x_T) || N(0, I)) then: its gradient is that of log SNR_T alone."""
    ours, nodes = learned(6), NORMAL.nodes(3)
    value = bound(diffusion_of(NORMAL.predict, ours, variance=ExactVariance(NORMAL)), nodes)
    assert float(value.detach()) == pytest.approx(NORMAL.best_bound(Schedule(ours.log_snr.detach())), rel=1e-9)
    (gradient,) = torch.autograd.grad(value, ours.rate)
    top = ours.level(torch.tensor([6]))
    var, mean = top.alpha**2 * NORMAL.var + top.sigma**2, top.alpha * NORMAL.mean
    (expected,) = torch.autograd.grad((0.5 * (var - 1 - torch.log(var) + mean**2)).sum(), ours.rate)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)
    assert float(gradient[2:].abs().max()) < 1e-9 < float(gradient[1].abs())


STANDARD = Normal(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def test_for_standard_normal_data_every_schedule_is_as_good():
    ours = learned(6)
    value = bound(diffusion_of(STANDARD.predict, ours), STANDARD.nodes(3))
    assert float(value.detach()) == pytest.approx(STANDARD.entropy, rel=1e-9)
    assert float(torch.autograd.grad(value, ours.rate)[0].abs().max()) < 1e-9


def descend(make: Callable[[], Diffusion], parameter: Tensor) -> tuple[float, float]:
    """The bound before and after following its gradient."""
    nodes = NORMAL.nodes(2)
    optimizer = torch.optim.LBFGS([parameter], max_iter=60, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = bound(make(), nodes)
        value.backward()
        return value

    begun = float(optimizer.step(closure).detach())
    return begun, float(bound(make(), nodes).detach())


def test_descent_finds_the_best_chain():
    """On the schedule alone, exact predictor, v = beta: as good a chain, with the same ends, as levels that are free to move
    one by one."""
    T = 5
    ours = learned(T, pieces=32, first=6.0, last=-5.0)
    diffusion = diffusion_of(NORMAL.predict, ours)
    begun, reached = descend(lambda: diffusion, ours.rate)
    free = log_linear(T, first=3.0, last=-3.0).log_snr[1:].clone().requires_grad_()
    clean = torch.tensor([math.inf], dtype=torch.float64)
    _, best = descend(lambda: diffusion_of(NORMAL.predict, Schedule(torch.cat([clean, free]))), free)
    assert NORMAL.entropy < best <= reached + 1e-6 < begun - 0.08
    assert reached - best < 1e-4
    torch.testing.assert_close(ours.log_snr[1:].detach(), free.detach(), rtol=0, atol=0.05)


def test_the_objective_adds_the_end_of_the_chain_once_and_unweighted():
    ours, x0 = learned(6), random_pair((7, 3))[0]
    decoder = DiscretizedGaussian(17)
    diffusion = diffusion_of(shrinking, ours, variance=FixedBeta(ddpm_t1=False), decoder=decoder)
    step = ours.step(torch.full((7,), 3))
    eps = torch.zeros_like(x0)
    prediction = diffusion(diffusion.process.noised(x0, step.t, eps), step)
    loss = Vlb(decoder, ours, Gaussian())(prediction, x0, eps)
    top = ours.level(torch.full((7,), 6))
    assert loss.besides is not None
    torch.testing.assert_close(loss.besides, BITS.per_dim(Gaussian().prior_kl(x0, top), 3))
    torch.testing.assert_close(loss.loss.double(), 6 * BITS.per_dim(loss.nats, 3).double())
    fixed = replace(diffusion, schedule=log_linear(6))
    assert Vlb(decoder, fixed.schedule, Gaussian())(prediction, x0, eps).besides is None
    with pytest.raises(ConfigError, match="objective=vlb"):
        Hybrid(decoder, ours, vlb_weight=0.001)


def test_a_part_of_its_chain_is_a_plain_schedule():
    ours = learned(10)
    part = ours.respace(torch.tensor([1, 4, 10]))
    assert type(part) is Schedule and not part.log_snr.requires_grad and not part.first_log_var.requires_grad
    assert torch.equal(part.log_snr, ours.log_snr.detach()[[0, 1, 4, 10]])
    assert torch.equal(part.learned_from, ours.learned_from.detach()[[0, 1, 4, 10]])


def test_paths_of_the_whole_chain_follow_the_schedule():
    """eps_t = sqrt(1 - c) eps_s + sqrt(c) z with the c of now, not of when the sampler was made."""
    ours = learned(4)
    chain = FullChain(Gaussian(), ours, chunk=4, markov=True)
    with torch.no_grad():
        ours.rate[2] += 1.0
    z = [torch.randn(2, 3, generator=torch.Generator().manual_seed(i)).double() for i in range(4)]
    noise = iter(z)
    (draw,) = chain.draws(2, torch.Generator(), lambda: next(noise))
    c = ours.step(times(4, 1)).c.detach()
    torch.testing.assert_close(draw.eps[:, 1], (1 - c[1]).sqrt() * z[0] + c[1].sqrt() * z[1])
    assert not draw.eps.requires_grad
