"""The learning-rate curve and the two optimizers' parameter groups."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from difflab.errors import ConfigError
from difflab.optimizer.adam import Adam
from difflab.optimizer.adamw import Adamw


def adam(lr: float = 0.1, warmup_steps: int = 10, decay: str = "none") -> Adam:
    return Adam(lr=lr, warmup_steps=warmup_steps, decay=decay, betas=[0.9, 0.99])


def test_warm_up_is_linear_and_ends_at_lr():
    assert [adam().lr_at(step, 0.0) for step in (1, 5, 10, 11, 500)] == pytest.approx([0.01, 0.05, 0.1, 0.1, 0.1])
    assert adam(warmup_steps=0).lr_at(1, 0.0) == 0.1


@pytest.mark.parametrize(
    "decay, half, end", [("none", 1.0, 1.0), ("linear", 0.75, 0.0), ("cosine", 0.5 + 0.5 * math.cos(math.pi / 4), 0.0)]
)
def test_decay_follows_the_share_of_the_budget(decay, half, end):
    curve = adam(warmup_steps=0, decay=decay)
    assert curve.lr_at(100, 0.25) == pytest.approx(0.1 * half)
    assert curve.lr_at(100, 1.0) == pytest.approx(0.1 * end)
    assert curve.lr_at(100, 1.7) == curve.lr_at(100, 1.0) and curve.lr_at(100, -1.0) == 0.1


def test_adamw_decays_matrices_and_not_biases():
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        model.bias.fill_(1.0)
    weight = model.weight.detach().clone()
    optimizer = Adamw(lr=0.1, warmup_steps=0, decay="none", betas=[0.9, 0.99], weight_decay=0.5).create(
        model.parameters()
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), weight * (1 - 0.1 * 0.5))
    assert torch.equal(model.bias.detach(), torch.ones(2))
    assert optimizer.defaults["betas"] == (0.9, 0.99)


def test_adams_first_step_has_the_size_lr():
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = adam(lr=0.1).create([parameter])
    parameter.grad = torch.tensor([1e-3, -5.0, 2.0])
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.1, 0.1, -0.1]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("values", [{"lr": 0.0}, {"lr": math.inf}, {"warmup_steps": -1}, {"decay": "exponential"}])
def test_impossible_values_are_refused_by_name(values):
    ((key, value),) = values.items()
    with pytest.raises(ConfigError, match=f"optimizer.{key}={value}"):
        adam(**values)
    with pytest.raises(ConfigError, match="optimizer.weight_decay=-0.1"):
        Adamw(lr=0.1, warmup_steps=0, decay="none", betas=[0.9, 0.99], weight_decay=-0.1)


@pytest.mark.parametrize("betas", [[], [0.9], [0.9, 0.99, 0.5], [0.9, 1.0], [-0.1, 0.9], [math.nan, 0.9]])
def test_betas_are_two_shares(betas):
    for make in (Adam, partial(Adamw, weight_decay=0.0)):
        with pytest.raises(ConfigError, match=r"optimizer\.betas=\["):
            make(lr=0.1, warmup_steps=0, decay="none", betas=betas)
