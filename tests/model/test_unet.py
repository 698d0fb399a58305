"""The U-Net is the published one where it says so, and stays itself at sizes it does not divide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from difflab.build import build
from difflab.model._blocks import Norm, Up, attend
from difflab.model.base import Model

CONF = Path(__file__).parents[2] / "conf" / "model"
NODES: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((CONF / f"{name}.yaml").read_text()) for name in ("unet", "unet_small")
}
TINY = {"channels": 8, "groups": 2, "embedding": 16, "dropout": 0.0}


def tiny(name: str, shape: tuple[int, ...] = (2, 8, 8), **changes: Any) -> Model:
    """A narrow network with none of its layers left at zero."""
    torch.manual_seed(0)
    model = build("model", NODES[name] | TINY | changes, shape=shape, levels=17, heads=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return model


def batch(model: Model) -> tuple[Tensor, Tensor]:
    return torch.randn(4, *model.shape, generator=torch.Generator().manual_seed(2)), torch.linspace(-25, 15, 4)


def count(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_unet_is_the_network_of_ddpm() -> None:
    """35,746,307: the parameters of Ho et al.'s released CIFAR-10 network (35.7M in the paper)."""
    published = build("model", NODES["unet"] | {"fourier_octaves": []}, shape=(3, 32, 32), levels=256, heads=0)
    assert count(published) == 35_746_307
    ours = build("model", NODES["unet"], shape=(3, 32, 32), levels=256, heads=1)
    waves, variance_head = 128 * 9 * (3 * 8), (128 * 9 + 1) * 3
    assert count(ours) - count(published) == waves + variance_head


def test_unet_small_is_small() -> None:
    small = build("model", NODES["unet_small"], shape=(1, 8, 8), levels=17, heads=1)
    assert 0.8e6 < count(small) < 2.2e6


@pytest.mark.parametrize("skips", ["all", "blocks", "sum"])
@pytest.mark.parametrize("resample", ["conv", "pool"])
@pytest.mark.parametrize("conditioning", ["add", "film"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_every_shape_of_the_pyramid_works(skips: str, resample: str, conditioning: str, blocks: int) -> None:
    changes: dict[str, Any] = {"skips": skips, "resample": resample, "conditioning": conditioning}
    model = tiny("unet", **changes, blocks=blocks, channel_mult=[1, 2, 2], attention=[0, 2], attention_head_dim=4)
    raw = model(*batch(model))
    assert raw.shape == (4, 4, 8, 8)
    assert raw.isfinite().all()


@pytest.mark.parametrize("skips", ["all", "blocks", "sum"])
def test_the_way_down_is_handed_across(skips: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing coming up from below, the finest level still knows its picture; and the sum is narrower than the join."""
    model = tiny("unet_small", skips=skips, channel_mult=[1, 2])
    x_t, log_snr = batch(model)
    forward = Up.forward
    monkeypatch.setattr(Up, "forward", lambda *inputs: 0 * forward(*inputs))
    raw = model(x_t, log_snr)
    assert not torch.allclose(raw[0], model(x_t.flip(0), log_snr)[0])
    if skips == "sum":
        assert count(model) < count(tiny("unet_small", skips="blocks", channel_mult=[1, 2]))


@pytest.mark.parametrize("groups", [2, 8])
def test_norms_of_bfloat16_maps_have_float32_moments(groups: int) -> None:
    """Both ways (a group fills a vector, or not) are right to the rounding of the result, far from zero too."""
    norm = Norm(groups, 32)
    x = (0.1 * torch.randn(4, 32, 8, 8, generator=torch.Generator().manual_seed(0)) + 3).bfloat16()
    exact = torch.nn.functional.group_norm(x.double(), groups)
    assert norm(x).dtype == torch.bfloat16
    assert (norm(x).double() - exact).abs().max() < 2**-8 * exact.abs().max()


def is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def test_feature_maps_stay_channels_last() -> None:
    model = tiny("unet_small")
    layouts: list[bool] = []
    for name, module in model.named_modules():
        if name.startswith(("down.", "middle", "up.")) and name.count(".") <= 1:
            module.register_forward_hook(lambda _m, _args, y: layouts.append(is_channels_last(y)))
    x_t, log_snr = batch(model)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            model(x_t, log_snr)
    assert len(layouts) >= 10
    assert all(layouts)


def test_padding_enters_as_zeros_and_leaves_no_trace() -> None:
    """On 7 x 9 the first layer sees the features surrounded by zeros, and the picture's own pixels in the middle."""
    model = tiny("unet_small", (2, 7, 9), channel_mult=[1, 2, 2])
    seen: list[Tensor] = []
    stem: Any = model.stem
    stem.register_forward_hook(lambda _m, args, _y: seen.append(args[0]))
    x_t, log_snr = batch(model)
    raw = model(x_t, log_snr)
    fourier: Any = model.fourier
    features = fourier(x_t, log_snr)
    assert seen[0].shape[-2:] == (8, 12)
    assert torch.equal(seen[0][..., 0:7, 1:10], features)
    assert torch.isclose(seen[0].abs().sum(), features.abs().sum())  # zeros elsewhere
    # the picture's frame is also where it comes out: a change at one corner shows most at that corner
    moved = x_t.clone()
    moved[:, :, 0, 0] += 0.5
    change = (model(moved, log_snr) - raw).abs().sum((0, 1))
    assert change.argmax() < 2 * 9
    assert change.flatten().argmax() % 9 < 2


def test_attention_is_softmax_attention() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    torch.testing.assert_close(attend(q, k, v), torch.nn.functional.scaled_dot_product_attention(q, k, v))
