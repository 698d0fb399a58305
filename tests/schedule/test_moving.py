"""A schedule that learns in continuous time: its ends on the bound, its pieces on the variance, each by its own gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difflab.decoder.gaussian import Gaussian as GaussianDensity
from difflab.gaussian import BITS
from difflab.objective.vlb import Vlb
from difflab.process.gaussian import Gaussian
from difflab.schedule._continuous import SQUARES, Continuous, Moving, scheduled
from difflab.schedule.base import Schedule
from difflab.schedule.learned import Learned
from difflab.variance.base import Variance
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.fixed_beta_tilde import FixedBetaTilde
from tests.analytic import NORMAL, PARAMETERIZATIONS, Predictor, random_pair, shrinking
from tests.schedule.test_continuous import ExactDecoder, Knows, legendre
from tests.schedule.test_learned import with_rate

BETA = FixedBeta(ddpm_t1=False)


def learned(T: int = 7, pieces: int = 4, scale: float = 0.7) -> Learned:
    """Pieces of unequal shares; the gradient of the parameters is unscaled (speed = 1)."""
    made = Learned(T=T, first_log_snr=6.0, last_log_snr=-4.0, pieces=pieces, speed=1.0).double()
    with torch.no_grad():
        made.rate[2:] = scale * torch.randn(pieces, generator=torch.Generator().manual_seed(1)).double()
    return made


def losses(
    schedule: Schedule, predict: Predictor, pair: tuple[Tensor, Tensor], t: Tensor, u: Tensor, variance: Variance = BETA
) -> tuple[Tensor, Tensor]:
    """The objective's loss of each row, and L_T; bits/dim [B]."""
    (x0, eps), step = pair, schedule.drawn(t, u)
    x_t = Gaussian().noised(x0, step.t, eps)
    raw = Knows(predict, "v").said(x_t, step.t)
    raw = torch.cat([raw, raw], 1) if variance.heads else raw
    prediction = Gaussian().read(raw, x_t, step, PARAMETERIZATIONS["v"], variance)
    loss = Vlb(GaussianDensity(), schedule, Gaussian())(prediction, x0, eps)
    top = schedule.level(torch.full((len(x0),), schedule.T))
    return loss.loss, BITS.per_dim(Gaussian().prior_kl(x0, top), x0[0].numel())


def expected(
    schedule: Schedule,
    predict: Predictor,
    nodes: tuple[Tensor, ...],
    variance: Variance = BETA,
    power: int = 1,
    places: int = 16,
) -> Tensor:
    """E[loss^power] over t uniform, u and the nodes, the mean of L_T added; with its graph."""
    (x0, eps, weight), (u, w), T = nodes, legendre(places), schedule.T
    rows, n = len(x0), T * len(u)
    t = torch.arange(1, T + 1).repeat_interleave(len(u)).repeat(rows)
    pair = x0.repeat_interleave(n, 0), eps.repeat_interleave(n, 0)
    loss, prior = losses(schedule, predict, pair, t, u.repeat(T * rows), variance)
    each = weight.repeat_interleave(n) * w.repeat(T * rows) / T
    return (each * (loss**power + prior)).sum()


def some_nodes() -> tuple[Tensor, Tensor, Tensor]:
    return (*random_pair((4, 2)), torch.full((4,), 0.25).double())


def slopes(base: Learned, predict: Predictor, nodes: tuple[Tensor, ...], variance: Variance = BETA) -> Tensor:
    """The gradient of the exact bound by central differences."""
    found, h = [], 1e-5
    for i in range(len(base.rate)):
        ends = []
        for sign in (1, -1):
            rate = base.rate.detach().clone()
            rate[i] += sign * h
            ends.append(float(expected(Continuous(with_rate(base, rate)), predict, nodes, variance).detach()))
        found.append((ends[0] - ends[1]) / (2 * h))
    return torch.tensor(found).double()


@pytest.mark.parametrize("case", ["normal", "shrinking"])
def test_the_ends_have_the_gradient_of_the_bound_and_the_pieces_have_none(case: str) -> None:
    """By way of x_t, level and width alike. What would reach the pieces is zero, summed over all intervals and places."""
    nodes = NORMAL.nodes(2) if case == "normal" else some_nodes()
    predict, base = NORMAL.predict if case == "normal" else shrinking, learned()
    (all_of_it,) = torch.autograd.grad(expected(Continuous(base), predict, nodes), base.rate)
    assert float(all_of_it[2:].abs().max()) < 1e-8
    difference = slopes(base, predict, nodes)
    assert float(difference[:2].abs().min()) > 5e-4
    torch.testing.assert_close(all_of_it, difference, rtol=1e-5, atol=1e-7)
    (ends,) = torch.autograd.grad(expected(Moving(base), predict, nodes), base.rate)
    torch.testing.assert_close(ends[:2], difference[:2], rtol=1e-5, atol=1e-7)


def test_with_the_exact_predictor_and_decoder_only_the_end_of_the_chain_costs() -> None:
    """The bound is entropy + KL(q(x_T) || N(0, I)): the gradient of the ends is that of log SNR_T."""
    base = learned()
    (found,) = torch.autograd.grad(
        expected(Moving(base), NORMAL.predict, NORMAL.nodes(2), ExactDecoder(0.0)), base.rate
    )
    top = base.level(torch.tensor([base.T]))
    var, mean = top.alpha**2 * NORMAL.var + top.sigma**2, top.alpha * NORMAL.mean
    nats = (0.5 * (var - 1 - torch.log(var) + mean**2)).sum()
    (true,) = torch.autograd.grad(BITS.per_dim(nats, 2), base.rate)
    torch.testing.assert_close(found[:2], true[:2], rtol=1e-6, atol=1e-9)


def test_the_pieces_have_the_gradient_of_the_squares() -> None:
    base, nodes = learned(), some_nodes()
    (found,) = torch.autograd.grad(expected(Moving(base), shrinking, nodes), base.rate)
    (true,) = torch.autograd.grad(expected(Continuous(base), shrinking, nodes, power=2), base.rate)
    assert float(true[2:].abs().min()) > 0.1
    torch.testing.assert_close(found[2:], SQUARES * true[2:], rtol=1e-9, atol=1e-9)


def test_what_is_never_heard_teaches_the_pieces_nothing_and_what_l_0_reads_is_the_bounds() -> None:
    base, nodes = learned(), some_nodes()
    quiet = Moving(base)
    t = torch.arange(1, 5)
    for variance, reads in ((BETA, False), (FixedBetaTilde(), True)):
        step = quiet.drawn(t, torch.full((4,), 0.3).double())
        x_t = Gaussian().noised(nodes[0], step.t, nodes[1])
        read = Gaussian().read(shrinking(x_t, step.t), x_t, step, PARAMETERIZATIONS["x0"], variance)
        read[torch.arange(2)].step.hear(torch.full((2,), 1e9))  # some rows are not the step
        error = (read.mean_difference(nodes[0], nodes[1]).square() / torch.exp(read.log_var())).sum()
        (found,) = torch.autograd.grad(error, base.rate)
        assert bool((found[2:] != 0).any()) == reads and bool((found[:2] != 0).all())


def test_levels_are_those_of_a_fixed_schedule() -> None:
    base, t = learned(), torch.arange(1, 8)
    u = torch.rand(7, generator=torch.Generator().manual_seed(0)).double()
    ours, fixed = Moving(base), Continuous(Schedule(base.log_snr.detach()))
    one, other = ours.drawn(t, u), fixed.drawn(t, u)
    for a, b in ((one.s, other.s), (one.t, other.t)):
        assert torch.equal(a.log_snr.detach(), b.log_snr)
    assert torch.equal(one.c.detach(), other.c)
    assert ours.continuous and ours.T == 7 and ours.label == "inf"
    part = ours.respace(torch.tensor([1, 4, 7]))
    assert type(part) is Schedule and torch.equal(part.log_snr, base.log_snr.detach()[[0, 1, 4, 7]])


def test_pieces_alone_follow_their_gradient_to_a_quieter_bound() -> None:
    """From single draws, as in training: the second moment falls most of the way to the best that these pieces can have; the
    bound does not move."""
    base, nodes = learned(T=17, pieces=8, scale=0.0), NORMAL.nodes(3)
    schedule = Moving(base)

    def moments() -> tuple[float, float]:
        found = (expected(Continuous(base), NORMAL.predict, nodes, power=power, places=4) for power in (1, 2))
        bound, square = (float(value.detach()) for value in found)
        return bound, square

    begun = moments()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([base.rate], lr=0.03, betas=(0.9, 0.99))
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 150)
        z = torch.randn(2, 64, 2, generator=generator).double()
        u, t = torch.rand(64, generator=generator).double(), torch.randint(1, 18, (64,), generator=generator)
        loss, _ = losses(schedule, NORMAL.predict, (NORMAL.mean + NORMAL.var.sqrt() * z[0], z[1]), t, u)
        optimizer.zero_grad()
        loss.mean().backward()
        assert base.rate.grad is not None
        base.rate.grad[:2] = 0
        optimizer.step()
    reached = moments()
    exact = torch.optim.LBFGS([base.rate], max_iter=8, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        exact.zero_grad()
        value = expected(Continuous(base), NORMAL.predict, nodes, power=2, places=4)
        value.backward()
        base.rate.grad[:2] = 0  # type: ignore[index]
        return value

    exact.step(closure)
    best = moments()
    assert reached[0] == pytest.approx(begun[0], abs=1e-6)
    assert best[1] < reached[1] < begun[1]
    assert reached[1] - best[1] < 0.2 * (begun[1] - best[1])


def test_a_configuration_chooses_it() -> None:
    node = {"name": "learned", "T": "inf", "first_log_snr": 13.3, "last_log_snr": -5.0, "pieces": 32, "speed": 30.0}
    made = scheduled(node, 12)
    assert isinstance(made, Moving) and made.T == 12 and [*made.state_dict()] == ["chain.rate"]
