"""Rows on the disk: the same as in memory, gone on with after an interruption, never mixed with other rows."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import torch

from difflab.bound import estimate
from difflab.bound.estimator import Examples, Extras, evaluate_modes
from difflab.bound.importance import Importance
from difflab.bound.ledger import build, save_terms
from difflab.bound.rows import StoredRows
from difflab.bound.stratified import Stratified
from tests.analytic import NORMAL, cosine, diffusion_of

T = 20
DIFFUSION = diffusion_of(NORMAL.predict, cosine(T))


def design(**changes) -> Stratified:
    values = {
        "examples": None, "draws": 2, "times": 3, "exact_steps": 4, "last_steps": 0, "target_se": None, "clip_x0": False, "seed": 3,
        "batch_size": 32,
    }  # fmt: skip
    return Stratified(**{**values, **changes})


def examples(n: int = 40) -> Examples:
    return Examples(torch.randn(n, 2, generator=torch.Generator().manual_seed(0)), 7 * torch.arange(n))


def evaluate(store=None, on_batch=None, by=None, diffusion=DIFFUSION):
    return evaluate_modes(diffusion, examples(), by or design(), "cpu", {False: Extras()}, on_batch, store)[0]


class Interrupted(Exception):
    pass


def stop_after(batches: int):
    def on_batch(done: int, total: int) -> None:
        nonlocal batches
        batches -= 1
        if not batches:
            raise Interrupted

    return on_batch


def opened(tmp_path, identity=None) -> StoredRows:
    store = StoredRows(tmp_path / ".a.rows", identity or {"weights": "1"})
    if store.state is None:
        store.begin({"p": [0.25]})
    return store


@pytest.mark.parametrize("batches", [1, 3, 17])
@pytest.mark.parametrize("torn", [0, 1, 57])
def test_an_interrupted_evaluation_goes_on_where_it_was_and_equals_the_uninterrupted_one(tmp_path, batches, torn):
    whole = evaluate()
    with pytest.raises(Interrupted):
        evaluate(opened(tmp_path), stop_after(batches))
    path = tmp_path / ".a.rows"
    if torn:  # killed in the middle of a write
        path.write_bytes(path.read_bytes()[:-torn])
    calls = []

    def counting(x_t, log_snr, cond):
        calls.append(len(x_t))
        return DIFFUSION.model(x_t, log_snr, cond)

    store = opened(tmp_path)
    assert store.state == {"p": [0.25]}
    from dataclasses import replace

    again = evaluate(store, diffusion=replace(DIFFUSION, model=counting))
    np.testing.assert_array_equal(again.rows, whole.rows)
    done = batches * 28 - (28 if torn else 0)  # 2 examples of 14 rows fit into a batch of 32
    assert sum(calls) == 40 * 14 - done
    np.testing.assert_array_equal(again.totals(), whole.totals())
    store.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("identity", [{"weights": "2"}, {"weights": "1", "design": {"seed": 4}}])
def test_rows_of_anything_else_are_dropped(tmp_path, identity):
    with pytest.raises(Interrupted):
        evaluate(opened(tmp_path), stop_after(3))
    store = opened(tmp_path, identity)
    assert store.open(5) == 0


def test_a_damaged_record_starts_anew(tmp_path):
    with pytest.raises(Interrupted):
        evaluate(opened(tmp_path), stop_after(3))
    (tmp_path / ".a.rows.json").write_text("{")
    assert opened(tmp_path).open(5) == 0


def test_memory_holds_a_block_and_not_the_table(tmp_path):
    """The rows of a stored estimate are a view of the file."""
    estimate = evaluate(opened(tmp_path))
    assert isinstance(estimate.rows, np.memmap)
    assert estimate.rows.nbytes == (tmp_path / ".a.rows").stat().st_size
    assert json.loads((tmp_path / ".a.rows.json").read_text())["state"] == {"p": [0.25]}


def test_an_interrupted_importance_evaluation_keeps_its_p(tmp_path):
    by = Importance(
        examples=None, draws=1, times=1, exact_steps=0, last_steps=0, uniform_mix=0.1, pilot_examples=8, pilot_times=8, target_se=None,
        clip_x0=False, seed=3, batch_size=8,
    )  # fmt: skip
    by = by.learned(evaluate(by=by.pilot))
    whole = evaluate(by=by)
    store = StoredRows(tmp_path / ".b.rows", {})
    store.begin(by.state())
    with pytest.raises(Interrupted):
        evaluate(store, stop_after(2), by)
    store = StoredRows(tmp_path / ".b.rows", {})
    assert store.state is not None
    np.testing.assert_array_equal(evaluate(store, by=by.restored(store.state)).rows, whole.rows)


@pytest.mark.parametrize("by", [design(draws=1), design(draws=1, times=16)], ids=["drawn", "all"])
def test_adding_up_and_saving_take_the_same_memory_for_ten_times_the_examples(tmp_path, monkeypatch, by):
    monkeypatch.setattr(estimate, "CELLS", 1 << 13)
    peaks = []
    for n in (2_000, 20_000):
        x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
        store = StoredRows(tmp_path / f"{n}.rows", {})
        store.begin({})
        by.batch_size = 8192
        everything = evaluate_modes(DIFFUSION, Examples(x, torch.arange(n)), by, "cpu", {False: Extras()}, None, store)[
            0
        ]
        tracemalloc.start()
        build(everything)
        save_terms(everything, tmp_path / "terms.npz")
        peaks.append(tracemalloc.get_traced_memory()[1] - 8 * 8 * n)  # but for eight numbers an example
        tracemalloc.stop()
        assert everything.rows.nbytes > 4 * peaks[-1] or n == 2_000
    assert peaks[1] < 1.3 * peaks[0]
