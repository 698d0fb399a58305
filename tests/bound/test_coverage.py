"""95% intervals hold the truth in 93 to 97% of 1,000 repetitions: totals, parts and rows of the ledger.

Rows are pooled over the t with at least 50 draws: of rarer ones no interval of this kind is true, which is why figures
pool them (figure/pooling.py). Each repetition is N = 200 examples of Gaussian data with a predictor whose expected terms are known by quadrature. All
repetitions are evaluated in one go and cut apart, which independent examples and keyed noise allow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from difflab.bound.base import Design
from difflab.bound.estimate import Estimate
from difflab.bound.estimator import Examples, evaluate
from difflab.bound.exhaustive import Exhaustive
from difflab.bound.importance import Importance
from difflab.bound.ledger import build
from difflab.bound.stratified import Stratified
from tests.analytic import NORMAL, cosine, diffusion_of, expected_terms

N, REPETITIONS, T = 200, 1000, 10
DIFFUSION = diffusion_of(NORMAL.predict, cosine(T))
TERMS = expected_terms(DIFFUSION, NORMAL.nodes()).numpy() / 2
COMMON = {"examples": None, "target_se": None, "clip_x0": False, "seed": 3, "batch_size": 1 << 16}
T_QUANTILE = 1.972  # Student's t, 199 degrees of freedom

DESIGNS: dict[str, Design] = {
    "exhaustive": Exhaustive(draws=1, **COMMON),
    "exhaustive, two draws": Exhaustive(draws=2, **COMMON),
    "stratified": Stratified(draws=1, times=4, exact_steps=2, last_steps=0, **COMMON),
    "importance": Importance(
        draws=2, times=2, exact_steps=1, last_steps=0, uniform_mix=0.2, pilot_examples=16, pilot_times=20, **COMMON
    ).restored({"p": [0.0, *TERMS.tolist()]}),
}


def repetitions(estimate: Estimate) -> Iterator[Estimate]:
    rows = estimate.rows.reshape(estimate.examples, -1, estimate.rows.shape[1])
    for start in range(0, estimate.examples, N):
        part = slice(start, start + N)
        yield replace(
            estimate,
            index=estimate.index[part],
            prior_kl=estimate.prior_kl[part],
            rows=rows[part].reshape(-1, rows.shape[2]),
        )


@pytest.mark.parametrize("name", DESIGNS)
def test_intervals_hold_the_truth_as_often_as_they_say(name):
    z = torch.randn(N * REPETITIONS, 2, generator=torch.Generator().manual_seed(2)).double()
    x = (NORMAL.mean + NORMAL.var.sqrt() * z).float()
    estimate = evaluate(DIFFUSION, Examples(x, torch.arange(len(x))), DESIGNS[name])
    top = DIFFUSION.schedule.level(torch.tensor([T]))
    var, mean = top.alpha**2 * NORMAL.var, top.alpha * NORMAL.mean
    prior = float((top.sigma**2 - 1 - 2 * torch.log(top.sigma) + var + mean**2).sum()) / 4
    truth = {
        "nats_per_dim": prior + TERMS.sum(), "transition_kl": TERMS[1:].sum(), "decoder_nll": TERMS[0], "prior_kl": prior
    }  # fmt: skip
    held = dict.fromkeys(truth, 0)
    often = build(estimate).columns["count"][:-1] >= 50 * REPETITIONS
    assert often.sum() >= 5
    rows = np.zeros(T)
    for part in repetitions(estimate):
        ledger = build(part)
        for key, value in truth.items():
            held[key] += abs(ledger.totals[key] - value) < T_QUANTILE * ledger.totals[f"{key}_se"]
        columns = ledger.columns
        rows += np.abs(columns["nats_per_dim"][:-1] - TERMS) < T_QUANTILE * columns["nats_per_dim_se"][:-1]
    coverage = {key: count / REPETITIONS for key, count in held.items()} | {
        "rows, pooled": rows[often].mean() / REPETITIONS
    }
    assert all(0.93 <= value <= 0.97 for value in coverage.values()), coverage


def test_the_two_parts_of_the_error_predict_what_more_draws_and_more_examples_bring():
    """se^2 = between^2 + noise^2: averaged over repetitions, eight draws in place of two divide noise^2 by four."""
    z = torch.randn(N * 100, 2, generator=torch.Generator().manual_seed(4)).double()
    examples = Examples((NORMAL.mean + NORMAL.var.sqrt() * z).float(), torch.arange(len(z)))
    parts = {}
    for draws in (2, 8):
        design = Stratified(draws=draws, times=2, exact_steps=1, last_steps=0, **COMMON)
        totals = [build(part).totals for part in repetitions(evaluate(DIFFUSION, examples, design))]
        parts[draws] = {
            k: math.sqrt(np.mean([t[f"nats_per_dim_se_{k}"] ** 2 for t in totals])) for k in ("noise", "between")
        }
    assert parts[2]["noise"] == pytest.approx(2 * parts[8]["noise"], rel=0.1)
    assert parts[2]["between"] == pytest.approx(parts[8]["between"], rel=0.1)
