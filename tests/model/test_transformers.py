"""The transformers are the published ones where they say so, know where a patch lies, and hand across what they join."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from difflab.build import build
from difflab.model.base import Model

CONF = Path(__file__).parents[2] / "conf" / "model"
NODES: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((CONF / f"{name}.yaml").read_text()) for name in ("dit", "dit_small", "uvit", "uvit_small")
}
TINY = {"width": 16, "depth": 3, "attention_heads": 2, "embedding": 16}
SIZES: dict[str, dict[str, int]] = {  # the papers' tables: DiT's width is also its noise-level vector's
    "dit S": {},
    "dit B": {"width": 768, "depth": 12, "attention_heads": 12, "embedding": 768},
    "dit L": {"width": 1024, "depth": 24, "attention_heads": 16, "embedding": 1024},
    "dit XL": {"width": 1152, "depth": 28, "attention_heads": 16, "embedding": 1152},
    "uvit S": {},
    "uvit M": {"width": 768, "depth": 17, "attention_heads": 12},
    "uvit L": {"width": 1024, "depth": 21, "attention_heads": 16},
}


def tiny(name: str, **changes: Any) -> Model:
    """A narrow network with none of its layers left at zero, on two channels of 8 x 8."""
    torch.manual_seed(0)
    model = build("model", NODES[name] | TINY | changes, shape=(2, 8, 8), levels=17, heads=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(2)), torch.linspace(-5, 5, 4)


def count(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def published(size: str, shape: tuple[int, ...], **changes: Any) -> tuple[Any, int]:
    """The network of that size, plain pixels in, on no device (no memory is taken), and its width."""
    name = size.split()[0]
    node = NODES[name] | SIZES[size] | {"fourier_octaves": []} | changes
    with torch.device("meta"):
        return build("model", node, shape=shape, levels=256, heads=name == "dit"), node["width"]


@pytest.mark.parametrize(("size", "exact"), [("dit S", 33), ("dit B", 130), ("dit L", 458), ("dit XL", 675)])
def test_dit_has_the_papers_parameters(size: str, exact: int) -> None:
    """Millions in table 4 of Peebles & Xie: latents of 4 x 32 x 32, a variance head, 1,000 classes. The noise level
    enters by 256 sinusoids there, by a quarter of the width here."""
    model, width = published(size, (4, 32, 32), num_classes=1000)
    theirs = count(model) + (256 - width // 4) * width
    assert abs(theirs / 1e6 - exact) < 1
    if size == "dit XL":  # counted in their code, whose fixed positions are learned here
        assert theirs == 675_129_632


@pytest.mark.parametrize(
    ("size", "shape", "changes", "exact"),
    [
        ("uvit S", (3, 32, 32), {}, 44),
        ("uvit M", (3, 64, 64), {"patch": 4, "num_classes": 1000}, 131),
        ("uvit L", (4, 32, 32), {"num_classes": 1000}, 287),
    ],
)
def test_uvit_has_the_papers_parameters(size: str, shape: tuple[int, ...], changes: dict[str, int], exact: int) -> None:
    """Millions in table 1 of Bao et al., whose sinusoids are the token; the layers that make it one here come on top."""
    model, _ = published(size, shape, **changes)
    theirs = count(model) - count(model.conditioning) - count(model.level)
    assert abs(theirs / 1e6 - exact) < 0.5
    if size == "uvit S":  # 13 blocks, 6 joins, first layer, positions, norm, patches, convolution
        blocks = 13 * (2 * 1024 + 3 * 512**2 + (512**2 + 512) + (8 * 512**2 + 5 * 512))
        ends = (12 * 512 + 512) + 257 * 512 + 2 * 512 + (512 * 12 + 12) + (3 * 27 + 3)
        assert theirs == blocks + 6 * (2 * 512**2 + 512) + ends == 44_255_328


def test_the_small_ones_are_small() -> None:
    small = {
        n: count(build("model", NODES[n], shape=(1, 8, 8), levels=17, heads=1)) for n in ("dit_small", "uvit_small")
    }
    assert all(1.8e6 < number < 2.8e6 for number in small.values()), small


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("patch", [1, 2, 3, 4, 8])
def test_every_patch_size_works_and_sees_every_pixel(name: str, patch: int) -> None:
    """Each output depends on each pixel, also where the patches overlap the picture's edge (3 does not divide 8)."""
    model = tiny(name, patch=patch)
    x_t, log_snr = batch()
    x_t.requires_grad_()
    for row, column in ((0, 0), (7, 7), (3, 4)):
        (gradient,) = torch.autograd.grad(model(x_t, log_snr)[0, 0, row, column], x_t)
        assert gradient[0].all()
        assert not gradient[1:].any()


def patchwise(name: str) -> Any:
    """A tiny network in which only positions tell one patch from another: uvit's convolution sees no border."""
    model: Any = tiny(name)
    if name.startswith("uvit"):
        with torch.no_grad():
            centre = model.out.weight[..., 1, 1].clone()
            nn.init.zeros_(model.out.weight)[..., 1, 1] = centre
    return model


@pytest.mark.parametrize("name", NODES)
def test_a_picture_moved_by_a_patch_is_another_picture(name: str) -> None:
    """By the positions alone: without them patches may be permuted."""
    model = patchwise(name)
    x_t, log_snr = batch()
    moved = model(x_t.roll(2, -1), log_snr)
    assert (moved - model(x_t, log_snr).roll(2, -1)).abs().max() > 1e-2
    with torch.no_grad():
        model.position[:, -16:] = 0
    torch.testing.assert_close(model(x_t.roll(2, -1), log_snr), model(x_t, log_snr).roll(2, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("turn", [lambda x: x.flip(-1), lambda x: x.mT], ids=["mirrored", "transposed"])
def test_a_picture_turned_is_another_picture(name: str, turn: Any) -> None:
    model = tiny(name)
    x_t, log_snr = batch()
    assert (model(turn(x_t), log_snr) - turn(model(x_t, log_snr))).abs().max() > 1e-2


@pytest.mark.parametrize("num_classes", [None, 3])
def test_the_noise_level_and_the_label_are_tokens(num_classes: int | None) -> None:
    """They come first, attention alone carries them to the pixels, and no pixel is read from their places."""
    model: Any = tiny("uvit", num_classes=num_classes)
    extras = 1 if num_classes is None else 2
    assert model.position.shape == (1, extras + 16, 16)
    seen: list[Tensor] = []
    model.middle.block.register_forward_hook(lambda _m, args, _y: seen.append(args[0]))
    x_t, _ = batch()
    labels = None if num_classes is None else torch.tensor([0, 1, 2, 0])
    raws = [model(x_t, torch.full((4,), value), labels) for value in (0.0, 1.0)]
    assert seen[0].shape == (4, extras + 16, 16)
    assert not torch.equal(*raws)
    for (
        part
    ) in model.modules():  # with the attention silenced, the level reaches no pixel (its features, damped, are off)
        if part.__class__.__name__ == "Attention":
            nn.init.zeros_(part.proj.weight)
    model.fourier.channels = 1
    model.stem.proj = nn.Conv2d(2, 16, 2, stride=2)
    raws = [model(x_t, torch.full((4,), value), labels) for value in (0.0, 1.0)]
    torch.testing.assert_close(*raws, rtol=0, atol=1e-6)


def test_each_deep_block_joins_its_mirror_image() -> None:
    """The last block joins the first, the one before it the second, by Linear(cat(x, kept))."""
    model: Any = tiny("uvit", depth=5)
    left: list[Tensor] = []
    joined: list[Tensor] = []
    for block in model.shallow:
        block.register_forward_hook(lambda _m, _args, y: left.append(y))
    for block in model.deep:
        block.join.register_forward_hook(lambda _m, args, _y: joined.append(args[0]))
    model(*batch())
    assert len(left) == len(joined) == 2
    for kept, pair in zip(reversed(left), joined, strict=True):
        assert torch.equal(pair[..., 16:], kept)
        assert not torch.equal(pair[..., :16], kept)


def test_with_the_middle_cut_out_the_picture_still_comes_across() -> None:
    model: Any = tiny("uvit")
    x_t, log_snr = batch()
    model.middle.register_forward_hook(lambda _m, _args, y: 0 * y)
    assert not torch.allclose(model(x_t, log_snr)[0], model(x_t.flip(0), log_snr)[0])


def test_uvits_convolution_looks_across_the_border_of_a_patch() -> None:
    """What the last layer adds to the patches: pixel (0, 2) of the output takes from the patch on its left."""
    model: Any = tiny("uvit")
    seen: list[Tensor] = []
    model.out.register_forward_hook(lambda _m, args, _y: seen.append(args[0]))
    raw = model(*batch())
    (gradient,) = torch.autograd.grad(raw[0, 0, 0, 2], seen)
    assert gradient[0, :, 0, 1].all()
    assert not gradient[0, :, :, 4:].any()


@pytest.mark.parametrize("name", ["dit", "uvit"])
def test_a_transformer_starts_with_silent_branches(name: str) -> None:
    """Blocks begin as the identity, joins apart: zero residual outputs."""
    model: Any = build("model", NODES[name] | TINY, shape=(2, 8, 8), levels=17, heads=1)
    x, embedding = torch.randn(2, 17, 16), torch.randn(2, 16)
    block = model.blocks[0] if name == "dit" else model.middle
    assert torch.equal(block(x, embedding) if name == "dit" else block(x), x)
