"""Each contender does the work that it is said to do, and what the peers compute is the same bound as ours."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch

from difflab.bench import levers
from difflab.bench.contender.base import STEPS, Contender
from difflab.bench.contender.improved_style import ImprovedStyle
from difflab.bench.contender.ours import AS_IN_A_LONG_RUN, composed
from difflab.bench.contender.peer import Tables, cosine_betas
from difflab.bench.lineup import SAME_NETWORK, Entry, lineup
from difflab.bench.work import KINDS, PICTURE, Shape
from difflab.bound.terms import bound_term
from difflab.decoder.discretized_gaussian import DiscretizedGaussian
from difflab.diffusion import Diffusion
from difflab.parameterization.eps import Eps
from difflab.process.gaussian import Gaussian
from difflab.variance.learned_range import LearnedRange
from tests.analytic import cosine

CPU = torch.device("cpu")
SMALL: Shape = (1, 8, 8)
ENTRIES = {entry.name: entry for entry in lineup("cpu", compile=False)}


def make(entry: Entry, shape: Shape = SMALL, **options: Any) -> Contender:
    if entry.needs:
        pytest.importorskip(entry.needs)
    module, _, name = entry.contender.partition(":")
    cls = getattr(import_module(f"difflab.bench.contender.{module}"), name)
    return cls(shape, CPU, **entry.options, **options)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_kind_of_work_counts_what_it_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    contender = make(ENTRIES[name])
    seen = evaluations(contender)
    for kind in KINDS:
        before = sum(seen)
        units = getattr(contender, kind)(4)()
        assert units == {"train": 4, "bound": 4, "ancestral": 4 * STEPS, "ddim": 4 * STEPS}[kind]
        # one network does not count: a peer's DDIM is done by another one, without the variance head
        assert sum(seen) - before in ({units} if kind != "ddim" else {units, 0})
    assert contender.flops() > 0


def evaluations(contender: Contender) -> list[int]:
    """Grows by the batch at every evaluation of the contender's network, whatever wraps it."""
    seen: list[int] = []
    contender.network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    return seen


@pytest.mark.parametrize("name", ENTRIES)
def test_a_training_step_moves_every_weight(name: str) -> None:
    contender = make(ENTRIES[name])
    step = contender.train(4)
    before = {key: p.detach().clone() for key, p in contender.network.named_parameters()}
    for _ in range(4):  # outputs that start at zero pass no gradient on in the first
        step()
    still = [key for key, p in contender.network.named_parameters() if torch.equal(p, before[key])]
    assert not still


def test_ours_at_the_peers_layout_is_the_peers_network() -> None:
    ours, peer = make(ENTRIES[SAME_NETWORK], PICTURE), make(ENTRIES["diffusers UNet2DModel"], PICTURE)
    assert ours.parameters() == peer.parameters()
    assert ours.flops() == pytest.approx(peer.flops(), rel=0.01)
    style = make(ENTRIES["improved-diffusion-style"], PICTURE)
    assert style.flops() == pytest.approx(peer.flops(), rel=0.01)


@pytest.mark.parametrize("t", [1, 2, 10, 400, 999])
def test_the_loop_lent_to_peers_computes_our_bound(t: int) -> None:
    """Nichol & Dhariwal's tables and our coefficients, on one raw output: the same terms, but for their tanh at t = 1."""
    T = 1000
    generator = torch.Generator().manual_seed(1)
    x0 = 2 * torch.randint(0, 256, (16, 3, 8, 8), generator=generator) / 255 - 1
    eps, raw = torch.randn(x0.shape, generator=generator), torch.randn(16, 6, 8, 8, generator=generator).tanh()
    diffusion = Diffusion(lambda *_: raw, Gaussian(), cosine(T), Eps(), LearnedRange(), DiscretizedGaussian(256))
    step = diffusion.schedule.step(torch.full((16,), t))
    x_t = diffusion.process.noised(x0, step.t, eps)
    ours = bound_term(diffusion.decoder, diffusion(x_t, step).clipped(), x0, eps).nats / (
        x0[0].numel() * 0.6931471805599453
    )
    tables, theirs_t = Tables(cosine_betas(T)), torch.full((16,), t - 1)
    torch.testing.assert_close(tables.noised(x0, theirs_t, eps), x_t, atol=1e-5, rtol=1e-5)
    theirs = tables.term(raw, x0, x_t, theirs_t)
    torch.testing.assert_close(theirs, ours.float(), rtol=0.02 if t == 1 else 2e-3, atol=1e-7)


def test_the_loop_visits_every_t_once() -> None:
    peer = ImprovedStyle(SMALL, CPU)
    seen: list[int] = []
    peer.network.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs[1].unique().tolist()))
    one_t = peer.bound(1)
    for _ in range(5):
        one_t()
    assert seen == [999, 998, 997, 996, 995]


def test_every_entry_composes() -> None:
    entries = [*lineup("cuda", compile=True), levers.BASE, *(lever.other for lever in levers.LEVERS)]
    for entry in entries:
        if entry.ours:
            composed([*AS_IN_A_LONG_RUN, *entry.options["overrides"]])


def test_a_lever_changes_what_it_says() -> None:
    for lever in levers.LEVERS:
        before, other = levers.BASE, lever.other
        assert (before.options, before.keep_blocks) != (other.options, other.keep_blocks), lever.name
    contender = make(next(lever.other for lever in levers.LEVERS if lever.name == "channels_last"))
    weights = [p for p in contender.network.parameters() if p.dim() == 4 and p.shape[2] > 1 and p.shape[1] > 1]
    assert weights and all(p.is_contiguous() for p in weights)
    assert not any(
        p.is_contiguous() for p in make(levers.BASE).network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1
    )
