"""What every network promises, whatever its inside: one test runs over every file of conf/model."""

from __future__ import annotations

import inspect
import pkgutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

import difflab.model
from difflab.build import build, parameters, variant
from difflab.errors import ConfigError
from difflab.model.base import Model

CONF = Path(__file__).parents[2] / "conf" / "model"
NODES: dict[str, dict[str, Any]] = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml"))}

# the same networks, small enough for a test
TINY: dict[str, dict[str, Any]] = {
    "mlp": {"width": 16, "depth": 2, "embedding": 16},
    "unet": {"channels": 8, "channel_mult": [1, 2], "attention": [0], "groups": 4, "embedding": 16, "dropout": 0.0},
    "unet_small": {"channels": 8, "groups": 2, "embedding": 16},
    "dit": {"width": 16, "depth": 2, "embedding": 16, "attention_heads": 2},
    "dit_small": {"width": 16, "depth": 2, "embedding": 16},
    "uvit": {"width": 16, "depth": 3, "embedding": 16},
    "uvit_small": {"width": 16, "depth": 3, "embedding": 16},
}
PICTURES = [name for name in NODES if name != "mlp"]


def tiny(
    name: str, shape: tuple[int, ...] | None = None, levels: int | None = 17, heads: int = 1, **changes: Any
) -> Model:
    """A small network of that name, fresh."""
    torch.manual_seed(0)
    shape = shape or ((3,) if name == "mlp" else (2, 8, 8))
    return build("model", NODES[name] | TINY.get(name, {}) | changes, shape=shape, levels=levels, heads=heads).eval()


def awaken(model: Model) -> Model:
    """Leave the zero initialisation, as the first training steps do."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return model


def batch(model: Model, size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(size, *model.shape, generator=generator), torch.linspace(-25, 15, size)


def test_every_variant_has_a_yaml_with_exactly_its_keys() -> None:
    modules = {m.name for m in pkgutil.iter_modules(difflab.model.__path__) if not m.name.startswith("_")} - {"base"}
    assert modules == {node["name"] for node in NODES.values()}
    for node in NODES.values():
        cls = variant("model", node["name"])
        assert sorted(parameters(cls)[1]) == sorted(set(node) - {"name"})
        keyword_only = [p for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
        assert all(p.default is p.empty for p in keyword_only)


@pytest.mark.parametrize(
    ("name", "shape", "levels"),
    [(name, *data) for name in PICTURES for data in [((1, 8, 8), 17), ((1, 28, 28), 256), ((3, 32, 32), 256)]]
    + [("mlp", (2,), None), ("mlp", (64,), 17)],
)
def test_every_yaml_builds_and_starts_at_exactly_zero(name: str, shape: tuple[int, ...], levels: int | None) -> None:
    model = build("model", NODES[name], shape=shape, levels=levels, heads=1)
    raw = model(*batch(model, 1))
    assert raw.shape == (1, 2 * shape[0], *shape[1:])
    assert raw.dtype == torch.float32
    assert not raw.any()


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("heads", [0, 1])
@pytest.mark.parametrize("side", [(8, 8), (7, 9)])
def test_shape_follows_heads_and_odd_sizes_are_cropped_back(name: str, heads: int, side: tuple[int, int]) -> None:
    model = tiny(name, (3,) if name == "mlp" else (2, *side), heads=heads)
    x_t, log_snr = batch(model)
    assert model(x_t, log_snr).shape == (4, (1 + heads) * x_t.shape[1], *x_t.shape[2:])


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("num_classes", [None, 3])
def test_gradient_reaches_every_parameter(name: str, num_classes: int | None) -> None:
    model = awaken(tiny(name, num_classes=num_classes)).train()
    x_t, log_snr = batch(model)
    model(x_t, log_snr, torch.tensor([0, 1, 2, 3]) if num_classes else None).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", NODES)
def test_an_example_does_not_depend_on_its_batch(name: str) -> None:
    model = awaken(tiny(name))
    x_t, log_snr = batch(model)
    together = model(x_t, log_snr)
    alone = torch.cat([model(x_t[i : i + 1], log_snr[i : i + 1]) for i in range(len(x_t))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert not together.isnan().any()


@pytest.mark.parametrize("name", NODES)
def test_the_noise_level_matters_and_zero_terminal_snr_is_finite(name: str) -> None:
    model = awaken(tiny(name))
    x_t, _ = batch(model)
    raws = [model(x_t, torch.full((4,), value)) for value in (-float("inf"), -25.0, -24.0, 0.0, 0.1, 14.0, 15.0)]
    assert all(raw.isfinite().all() for raw in raws)
    for one, two in pairwise(raws):
        assert (one - two).abs().max() > 1e-6


@pytest.mark.parametrize("name", NODES)
def test_labels_matter_only_to_a_model_of_classes(name: str) -> None:
    model, plain = awaken(tiny(name, num_classes=3)), awaken(tiny(name))
    x_t, log_snr = batch(model)
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.equal(model(x_t, log_snr, zeros), model(x_t, log_snr, ones))
    assert not torch.equal(model(x_t, log_snr, zeros), model(x_t, log_snr))  # None is a label of its own: unknown
    assert torch.equal(model(x_t, log_snr, -ones), model(x_t, log_snr))  # and so is -1, for some examples of a batch
    assert torch.equal(plain(x_t, log_snr, zeros), plain(x_t, log_snr))


@pytest.mark.parametrize("name", NODES)
def test_bfloat16_autocast_keeps_the_grid_at_the_end_of_the_chain(name: str) -> None:
    """At log SNR 9 the noise is 0.011, three bfloat16 roundings of x_t: the first layer must not see it rounded."""
    model = awaken(tiny(name, levels=256))
    x_t, log_snr = batch(model)[0].clamp(-1, 1), torch.full((4,), 9.0)
    inputs: list[Tensor] = []
    stem: Any = model.stem
    stem.register_forward_hook(lambda _, args, output: inputs.extend([args[0], output]))
    exact = model(x_t, log_snr)
    with torch.autocast("cpu", torch.bfloat16):
        fast = model(x_t, log_snr)
    assert fast.dtype == torch.float32
    assert torch.equal(inputs[0], inputs[2])
    assert torch.equal(inputs[1], inputs[3])
    assert (fast - exact).square().mean().sqrt() < 0.03 * exact.square().mean().sqrt()
    assert not torch.equal(fast, exact)  # the middle did run in bfloat16
    assert not torch.equal(fast, fast.bfloat16().float())  # the end did not


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_changes_no_gradient(name: str, dropout: float) -> None:
    gradients: list[list[Tensor]] = []
    for recompute in (False, True):
        model = awaken(tiny(name, gradient_checkpointing=recompute, dropout=dropout)).train()
        torch.manual_seed(3)
        model(*batch(model)).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", NODES)
def test_a_network_is_one_graph_to_the_compiler(name: str) -> None:
    """torch.compile traces it whole, in bfloat16 too: a break in every block would cost what fusing them gains."""
    model = awaken(tiny(name))
    whole: Any = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    for enabled in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            torch.testing.assert_close(whole(*batch(model)), model(*batch(model)))


@pytest.mark.parametrize(
    ("name", "shape", "changes", "says"),
    [
        ("mlp", (1, 8, 8), {}, "takes vectors [D], and this data has shape [1, 8, 8]; choose model=unet_small"),
        ("unet_small", (2,), {}, "model=unet takes pictures [C, H, W], and this data has shape [2]; choose model=mlp"),
        ("dit_small", (2,), {}, "takes pictures [C, H, W], and this data has shape [2]; choose model=mlp"),
        ("unet", (1, 4, 8), {"channel_mult": [1, 2, 2, 2]}, "8 x 8, and this data is 4 x 8; give it at most 3 entries"),
        ("unet", None, {"channel_mult": []}, "model.channel_mult=[] must name at least one level"),
        ("unet", None, {"groups": 3}, "model.groups=3 must divide each level's width, [8, 16]"),
        ("unet", None, {"attention": [2]}, "model.attention=[2] must hold levels in 0..1"),
        ("unet", None, {"attention_head_dim": 3}, "model.attention_head_dim=3 must divide each"),
        ("unet", None, {"skips": "some"}, "model.skips=some must be one of all, blocks"),
        ("unet", None, {"resample": "none"}, "model.resample=none must be one of conv, pool"),
        ("unet", None, {"conditioning": "no"}, "model.conditioning=no must be one of add, film"),
        ("unet", None, {"blocks": 0}, "model.blocks=0 must be an integer of at least 1"),
        ("unet", None, {"dropout": 1.0}, "model.dropout=1.0 must be a number in [0, 1)"),
        ("unet", None, {"embedding": 12}, "model.embedding=12 must be a positive multiple of 8"),
        ("unet", None, {"num_classes": 0}, "model.num_classes=0 must be an integer of at least 1"),
        ("unet", None, {"fourier_octaves": [17]}, "model.fourier_octaves=[17] must hold integers in 0..16"),
        ("dit_small", None, {"attention_heads": 3}, "model.attention_heads=3 must divide model.width=16"),
        ("dit_small", None, {"patch": 9}, "model.patch=9 must not exceed the picture's 8 x 8"),
        ("dit_small", None, {"mlp_ratio": 0.0}, "model.mlp_ratio=0.0 must be positive"),
        ("uvit", (2,), {}, "model=uvit takes pictures [C, H, W], and this data has shape [2]; choose model=mlp"),
        ("uvit", None, {"depth": 4}, "model.depth=4 must be odd, a middle block and pairs around it; take 5."),
        ("uvit", None, {"depth": 0}, "model.depth=0 must be an integer of at least 1"),
        ("uvit", None, {"attention_heads": 3}, "model.attention_heads=3 must divide model.width=16"),
        ("uvit", None, {"patch": 9}, "model.patch=9 must not exceed the picture's 8 x 8"),
        ("uvit", None, {"num_classes": 0}, "model.num_classes=0 must be an integer of at least 1"),
    ],
)
def test_refusals_name_key_value_and_remedy(
    name: str, shape: tuple[int, ...] | None, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        tiny(name, shape, **changes)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
