"""bfloat16 inside, float32 where the bound feels it: the choice, and what it costs each network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from difflab.bound.terms import bound_term
from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.diffusion import Diffusion, unwrapped
from difflab.errors import ConfigError
from difflab.parameterization.v import V
from difflab.precision import in_precision, multiplies_bf16, resolve
from difflab.process.gaussian import Gaussian
from difflab.variance.learned_range import LearnedRange
from tests.analytic import cosine
from tests.model.test_model import NODES, awaken, tiny

CPU = torch.device("cpu")
T, LEVELS = 1000, 256


def capable(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16"])
def test_auto_is_bf16_only_where_the_hardware_multiplies_it(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    capable(monkeypatch, avx512_f=True)
    assert resolve("trainer.precision", "auto", CPU) == "fp32"
    capable(monkeypatch, avx512_f=True, **{unit: True})
    assert resolve("trainer.precision", "auto", CPU) == "bf16"
    assert resolve("trainer.precision", "fp32", CPU) == "fp32"


def test_a_torch_that_cannot_tell_stays_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not multiplies_bf16(CPU)


def test_another_name_is_refused_by_its_key() -> None:
    with pytest.raises(ConfigError, match=r"precision\.evaluate=fp16 is not one of auto, fp32, bf16"):
        resolve("precision.evaluate", "fp16", CPU)


def test_what_wraps_a_network_can_be_taken_off() -> None:
    model = torch.nn.Linear(2, 2)
    assert unwrapped(in_precision(torch.optim.swa_utils.AveragedModel(model), "bf16", CPU)) is not None
    assert unwrapped(in_precision(model, "bf16", CPU)) is model
    assert in_precision(model, "fp32", CPU) is model


def terms(network: Any, t: int) -> torch.Tensor:
    """The bound's term at t of 64 examples, nats, float64; a v-predicting network, learned variance."""
    generator = torch.Generator().manual_seed(4)
    shape = network.module.shape if hasattr(network, "module") else network.shape
    x0 = 2 * torch.randint(0, LEVELS, (64, *shape), generator=generator) / (LEVELS - 1) - 1
    eps = torch.randn(x0.shape, generator=generator)
    decoder = DiscretizedGaussian(LEVELS)
    diffusion = Diffusion(network, Gaussian(), cosine(T), V(), LearnedRange(), decoder)
    step = diffusion.schedule.step(torch.full((64,), t))
    with torch.no_grad():
        prediction = diffusion(diffusion.process.noised(x0, step.t, eps), step)
    return bound_term(decoder, prediction, x0, eps).nats.double()


def shift(network: Any, fast: Any, t: int) -> float:
    exact = terms(network, t)
    return abs(float((terms(fast, t) - exact).mean() / exact.mean()))


@pytest.mark.parametrize("name", NODES)
def test_bf16_moves_no_term_of_any_networks_bound(name: str) -> None:
    """Measured on average over 64 examples: 3e-3 of a term at most, most of them below 1e-3, near t = 1 and near T alike."""
    network = awaken(tiny(name, levels=None if name == "mlp" else LEVELS))
    for t in (1, 2, 10, 100, 900):
        assert shift(network, in_precision(network, "bf16", CPU), t) < 3e-3
