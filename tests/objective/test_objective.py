"""What each objective's gradient is the gradient of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from difflab.bound.terms import bound_term
from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.diffusion import Diffusion
from difflab.errors import ConfigError
from difflab.gaussian import BITS
from difflab.objective.hybrid import Hybrid
from difflab.objective.simple import Simple
from difflab.objective.vlb import Vlb
from difflab.process.gaussian import Gaussian
from difflab.variance.fixed_beta import FixedBeta
from difflab.variance.learned_range import LearnedRange
from tests.analytic import PARAMETERIZATIONS, cosine, random_pair, terms_at, times

T, DIMS, ROWS = 15, 4, 3
SCHEDULE, DECODER = cosine(T), DiscretizedGaussian(17)


class Network(nn.Module):
    """y from one layer, the variance head from another, so that their gradients can be told apart."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mean = nn.Linear(DIMS + 1, DIMS).double()
        self.head = nn.Linear(DIMS + 1, DIMS).double() if heads else None

    def forward(self, x_t: Tensor, log_snr: Tensor, cond: Tensor | None = None) -> Tensor:
        h = torch.cat([x_t, log_snr[:, None].double() / 10], 1)
        return torch.cat([self.mean(h), torch.tanh(self.head(h))], 1) if self.head else self.mean(h)


def diffusion(kind: str = "v", learned: bool = True) -> Diffusion:
    variance = LearnedRange() if learned else FixedBeta(ddpm_t1=False)
    return Diffusion(Network(variance.heads), Gaussian(), SCHEDULE, PARAMETERIZATIONS[kind], variance, DECODER)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Every t of ROWS examples on the grid of 17 levels."""
    x0, eps = random_pair((T * ROWS, DIMS))
    return (((x0 + 1) * 8).round() / 8 - 1), eps, times(T, ROWS)


def gradients(model: Diffusion, objective) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """d(mean over all t of the loss) by parameter; the losses and the nats."""
    x0, eps, t = batch()
    step = SCHEDULE.step(t)
    loss = objective(model(model.process.noised(x0, step.t, eps), step), x0, eps)
    loss.loss.mean().backward()
    assert isinstance(model.model, Network)
    return {n: p.grad for n, p in model.model.named_parameters() if p.grad is not None}, loss.loss.detach(), loss.nats


@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
@pytest.mark.parametrize("learned", [False, True])
def test_vlbs_expected_gradient_is_that_of_the_summed_bound(kind, learned):
    """Uniform t enumerated exactly: mean of T L_t over t = sum of L_t, in bits/dim, and so are the gradients."""
    ours, loss, nats = gradients(diffusion(kind, learned), Vlb(DECODER, SCHEDULE))
    reference = diffusion(kind, learned)
    x0, eps, t = batch()
    summed = terms_at(reference, x0, eps, t).nats.sum() / ROWS  # sum over t, mean over examples
    summed.backward()
    assert isinstance(reference.model, Network)
    assert float(loss.mean()) == pytest.approx(float(BITS.per_dim(summed.detach(), DIMS)), rel=1e-12)
    for name, parameter in reference.model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(ours[name], BITS.per_dim(parameter.grad, DIMS), rtol=1e-9, atol=1e-12)
    assert not nats.requires_grad


def test_the_importance_weight_keeps_vlbs_gradient():
    """Enumerated with probabilities p_t: sum_t p_t iw_t grad(T L_t) = grad of the sum, for any p."""
    model, (x0, eps, t) = diffusion(), batch()
    p = torch.rand(T, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    p = p / p.sum()
    step = SCHEDULE.step(t)
    loss = Vlb(DECODER, SCHEDULE)(model(model.process.noised(x0, step.t, eps), step), x0, eps).loss
    weighted = (p[t - 1] * (1 / (T * p[t - 1])) * loss).sum() / ROWS
    torch.testing.assert_close(weighted, BITS.per_dim(terms_at(model, x0, eps, t).nats.sum() / ROWS, DIMS))


@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
def test_hybrids_gradient_to_the_mean_is_simples_and_to_the_variance_is_vlbs(kind):
    hybrid, loss, nats = gradients(diffusion(kind), Hybrid(DECODER, SCHEDULE, vlb_weight=0.25))
    vlb, vlb_loss, vlb_nats = gradients(diffusion(kind), Vlb(DECODER, SCHEDULE))
    # simple refuses a learned variance: give it the same mean with a fixed one
    fixed = diffusion(kind, learned=False)
    both = diffusion(kind)
    assert isinstance(fixed.model, Network) and isinstance(both.model, Network)
    fixed.model.mean.load_state_dict(both.model.mean.state_dict())
    simple, simple_loss, _ = gradients(fixed, Simple(DECODER, SCHEDULE, fixed.variance))
    for name in ("mean.weight", "mean.bias"):
        torch.testing.assert_close(hybrid[name], simple[name], rtol=1e-12, atol=0)
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(hybrid[name], 0.25 * vlb[name], rtol=1e-10, atol=1e-14)
        assert float(hybrid[name].abs().max()) > 0
    torch.testing.assert_close(loss, simple_loss + 0.25 * vlb_loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(nats, vlb_nats, rtol=1e-12, atol=0)


def test_with_a_fixed_variance_hybrid_trains_as_simple_does():
    fixed = diffusion(learned=False)
    hybrid, _, _ = gradients(fixed, Hybrid(DECODER, SCHEDULE, vlb_weight=0.25))
    again = diffusion(learned=False)
    simple, _, _ = gradients(again, Simple(DECODER, SCHEDULE, again.variance))
    for name, gradient in simple.items():
        torch.testing.assert_close(hybrid[name], gradient, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
def test_simple_is_the_mean_squared_error_of_the_target(kind):
    model, (x0, eps, t) = diffusion(kind, learned=False), batch()
    step = SCHEDULE.step(t)
    prediction = model(model.process.noised(x0, step.t, eps), step)
    p, q, _ = prediction.coefficients
    target = p[:, None] * x0 + q[:, None] * eps
    result = Simple(DECODER, SCHEDULE, model.variance)(prediction, x0, eps)
    torch.testing.assert_close(result.loss, (target - prediction.y).square().mean(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(result.nats, terms_at(model, x0, eps, t).nats.detach(), rtol=1e-12, atol=0)


def test_simple_refuses_a_variance_it_could_not_teach():
    with pytest.raises(ConfigError, match=r"objective=simple .*objective=hybrid"):
        Simple(DECODER, SCHEDULE, LearnedRange())
    with pytest.raises(ConfigError, match=r"objective\.vlb_weight=0"):
        Hybrid(DECODER, SCHEDULE, vlb_weight=0)


@pytest.mark.parametrize("only", ["t = 1", "t > 1"])
def test_a_batch_of_one_kind_of_term_computes_the_same_as_a_mixed_one(only):
    model, (x0, eps, t) = diffusion(), batch()
    mixed = terms_at(model, x0, eps, t)
    rows = (t == 1) if only == "t = 1" else (t > 1)
    alone = terms_at(model, x0[rows], eps[rows], t[rows])
    torch.testing.assert_close(alone.nats, mixed.nats[rows], rtol=1e-12, atol=0)
    order = torch.randperm(len(t), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        terms_at(model, x0[order], eps[order], t[order]).nats, mixed.nats[order], rtol=1e-12, atol=0
    )


def test_a_prediction_gone_wild_at_one_t_leaves_the_others_gradients_finite():
    """No term is computed and then masked: a KL that overflows at t = 1, where it is no term, leaks no NaN."""
    model, (x0, eps, t) = diffusion(), batch()
    step = SCHEDULE.step(t)
    prediction = model(model.process.noised(x0, step.t, eps), step)
    wild = torch.where((t == 1)[:, None], 1e200 + 0 * prediction.excess, prediction.excess)
    head = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    later = (t > 1).nonzero()[:, 0]
    nats = bound_term(DECODER, replace(prediction, excess=wild + head), x0, eps).nats
    nats[later].sum().backward()
    assert head.grad is not None and bool(torch.isfinite(head.grad).all())
