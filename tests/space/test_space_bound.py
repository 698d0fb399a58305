"""The bound on x of a chain over z: rows that add up, one z for each example, the data's own unit and dimensions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from difflab.bound import insight, ledger
from difflab.bound.estimator import encoded, evaluate
from difflab.bound.sums import add_up
from difflab.build import build
from difflab.console import bound_table
from difflab.gaussian import BITS, NATS
from difflab.task.measure import without_chain
from tests.space.conftest import MLP, UNET, ready
from tests.test_combinations import config_of

SPACES = [
    ["space=whiten", *MLP],
    ["space=pca", "space.k=9", *MLP],
    ["space=autoencoder", "space.steps=3", "space.width=8", *UNET],
]


@pytest.fixture(scope="module", params=SPACES, ids=lambda lines: lines[0])
def lab(request: pytest.FixtureRequest):
    return ready(*request.param)


def test_the_rows_add_up_to_the_total_and_each_examples_to_its_own(lab, tmp_path: Path) -> None:
    estimate = evaluate(lab.diffusion, lab.examples(lab.data.test), lab.bound)
    book, space = ledger.build(estimate), lab.diffusion.space
    assert book.unit is BITS
    assert book.columns["term"][-len(space.terms) :].tolist() == list(space.terms)
    assert book.columns["t"][-len(space.terms) - 1 :].tolist() == [12] + [0] * len(space.terms)
    assert book.columns["bpd"].sum() == pytest.approx(book.totals["bpd"], abs=1e-9)
    parts = ("prior_kl", "transition_kl", "decoder_nll", *space.terms)
    assert sum(book.totals[name] for name in parts) == pytest.approx(book.totals["bpd"], abs=1e-9)
    assert estimate.totals().mean() / (64 * math.log(2)) == pytest.approx(book.totals["bpd"], abs=1e-9)
    found = encoded(space, lab.examples(lab.data.test), slice(0, 30), 0, "cpu")
    for name, nats in found.parts.items():
        assert book.totals[name] == pytest.approx(float(nats.mean()) / (64 * math.log(2)), rel=1e-12)
    again = ledger.Ledger.load(book.save(tmp_path / "ledger.csv"), book.totals)
    np.testing.assert_array_equal(again.columns["bpd"], book.columns["bpd"])
    saved = np.load(ledger.save_terms(estimate, tmp_path / "terms.npz"))
    added = sum(saved[name] for name in space.terms)
    nats = np.bincount(saved["example"], saved["weight"] * saved["nats"])
    np.testing.assert_allclose(saved["prior_kl"] + added + nats, saved["total"], rtol=1e-9)
    assert int(saved["dims"]) == 64
    printed = bound_table(book.totals, {}, book.unit)
    assert printed.count("x -> z") == len(space.terms)


def test_every_table_that_follows_has_the_same_total(lab) -> None:
    estimate = evaluate(lab.diffusion, lab.examples(lab.data.test), lab.bound)
    sums = add_up(estimate)
    total = ledger.totals(sums)["bpd"]
    table = insight.variance_table(sums)
    assert table["own"].sum() == pytest.approx(total, abs=1e-9)
    assert insight.variance_totals(sums)["own"]["bpd"] == total
    with_best, _ = insight.optimal_variance_bound(sums)
    assert abs(with_best - total) < 0.5  # untrained, and it holds what the space adds


def test_an_example_has_one_z_whatever_the_batches_and_the_noise_of_t(lab) -> None:
    examples = lab.examples(lab.data.test)
    designs = [lab.bound] * 3
    for design, size in zip(designs, (512, 7, 1), strict=True):
        design.batch_size = size
        found = evaluate(lab.diffusion, examples, design)
        if size == 512:
            first = found
        for name, nats in found.parts.items():
            np.testing.assert_allclose(nats, first.parts[name], rtol=1e-5)
        np.testing.assert_allclose(found.prior_kl, first.prior_kl, rtol=1e-6)
        np.testing.assert_allclose(found.totals(), first.totals(), rtol=1e-5)
    lab.bound.batch_size = 512
    apart = [encoded(lab.diffusion.space, examples, torch.tensor([i]), 0, "cpu").z for i in range(5)]
    together = encoded(lab.diffusion.space, examples, slice(0, 5), 0, "cpu").z
    assert torch.allclose(torch.cat(apart), together, atol=1e-5)
    assert not torch.allclose(encoded(lab.diffusion.space, examples, slice(0, 5), 1, "cpu").z, together, atol=1e-3)


def test_what_the_chain_gains_is_paired(lab) -> None:
    """Of two chains on the same z, gain + bound is the same: the space alone."""
    lab.bound.clip_x0 = False
    estimate = evaluate(lab.diffusion, lab.examples(lab.data.test), lab.bound)
    figures = without_chain(estimate)
    alone = figures["bpd_without_chain"]
    assert alone - figures["chain_gain"] == pytest.approx(ledger.build(estimate).totals["bpd"], abs=1e-9)
    found = encoded(lab.diffusion.space, lab.examples(lab.data.test), slice(0, 30), 0, "cpu")
    plain = lab.diffusion.space.plain_nll(found.z)
    assert alone == pytest.approx(float((found.sum + plain).mean()) / (64 * math.log(2)), rel=1e-6)
    assert without_chain(replace(estimate, plain_nll=None)) == {}


def test_continuous_data_stay_in_nats_and_need_no_noise() -> None:
    lab = ready("data=gaussian", "space=whiten", *MLP, "data.train_size=500", "data.val_size=50", "data.test_size=50")
    space = lab.diffusion.space
    assert (space.noise_of(lab.data.shape), lab.diffusion.unit, lab.levels) == (None, NATS, None)
    estimate = evaluate(lab.diffusion, lab.examples(lab.data.test), lab.bound)
    book = ledger.build(estimate)
    assert book.unit is NATS and book.columns["nats_per_dim"].sum() == pytest.approx(
        book.totals["nats_per_dim"], abs=1e-9
    )
    # the Gaussian of the training split is its own whitening's
    covariance = space.basis @ torch.diag(space.eigenvalues) @ space.basis.T
    centred = lab.data.test.x[:30].double() - space.mean
    quadratic = (centred @ torch.linalg.inv(covariance) * centred).sum(1).mean()
    nats = 0.5 * (quadratic + torch.linalg.slogdet(2 * math.pi * covariance)[1]) / 4
    assert without_chain(estimate)["nats_per_dim_without_chain"] == pytest.approx(float(nats), abs=1e-6)


@pytest.mark.parametrize("order", [["data=digits", "space=whiten"], ["space=whiten", "data=digits"]])
def test_a_space_brings_its_network_and_decoder_and_what_is_typed_wins(order: list[str]) -> None:
    config = config_of(order)
    assert (config["model"]["name"], config["decoder"]["name"]) == ("mlp", "gaussian")
    assert config_of([*order, "model=unet_small"])["model"]["name"] == "unet"
    vectors = config_of(["data=swiss_roll", "space=whiten"])
    assert (vectors["model"]["name"], vectors["trainer"]["batch_size"], vectors["sampler"]["count"]) == (
        "mlp",
        1024,
        2000,
    )


def test_a_target_is_a_standard_error_of_the_bound_on_x() -> None:
    lab = ready("space=pca", "space.k=9", *MLP)
    values = {k: v for k, v in lab.config["bound"].items() if k != "examples"} | {"target_se": 0.5, "examples": None}
    estimate = evaluate(lab.diffusion, lab.examples(lab.data.test), build("bound", values))
    assert estimate.target is not None and estimate.target.reached
    assert estimate.target.reached_se == pytest.approx(ledger.build(estimate).totals["bpd_se"], rel=1e-6)
