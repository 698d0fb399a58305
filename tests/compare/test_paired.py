"""Paired differences: exactly zero of a run with itself, equal to what a loop over examples says, intervals that hold."""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from difflab.compare import paired as paired_module
from difflab.compare import terms as terms_module
from difflab.compare.measurement import Measurement, read_own
from difflab.compare.paired import POOLS, Paired, common_grid, differ, needed, up_to
from difflab.compare.student import quantile
from difflab.compare.terms import Drawn, Table, terms
from difflab.errors import ConfigError
from difflab.figure.pooling import log_edges
from tests.compare.made_up import DIMS, MakeRun, chain, in_memory, rows_of
from tests.designs import stratified

SCALE = 1 / (DIMS * math.log(2))


def pair(a: Path | Measurement, b: Path | Measurement) -> Paired:
    first, second = (read_own(x) if isinstance(x, Path) else x for x in (a, b))
    with terms(first) as of_first, terms(second) as of_second:
        return differ(first, second, of_first, of_second)


def small_blocks(monkeypatch: pytest.MonkeyPatch, cells: int = 27, rows: int = 7) -> None:
    """Few examples and rows at a time, so that the seams show."""
    monkeypatch.setattr(paired_module, "CELLS", cells)
    monkeypatch.setattr(terms_module, "ROWS", rows)


def sampled(nats: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(what was estimated, its rows): each example keeps half of its terms, twice as heavy."""
    kept = np.random.default_rng(seed).random(nats.shape) < 0.5
    kept[:, :2] = True
    estimate = np.where(kept, 2 * nats, 0)
    estimate[:, :2] = nats[:, :2]
    return estimate, rows_of(estimate, kept)


@pytest.mark.parametrize("layouts", list(itertools.product(["dense", "drawn", "shuffled"], repeat=2)), ids="-".join)
def test_a_run_differs_from_itself_by_exactly_zero(
    layouts: tuple[str, str],
    make_run: MakeRun,
    terms_of_two: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_blocks(monkeypatch)
    nats = terms_of_two[0]
    rows = rows_of(nats, np.ones_like(nats, bool))
    order = np.random.default_rng(0).permutation(len(rows["t"]))
    kinds = {"dense": None, "drawn": rows, "shuffled": {name: column[order] for name, column in rows.items()}}
    result = pair(*(make_run(str(i), nats, kinds[layout]) for i, layout in enumerate(layouts)))
    steps = result.per_step
    assert steps is not None
    for values in (result.sums, result.over_log_snr, steps.terms, steps.cumulative, steps.pools):
        assert (values.mean == 0).all() and (values.se == 0).all()
        assert values.p == [1.0] * len(values.mean)
    assert result.common_noise and (steps.evaluated == 12).all()


@pytest.mark.parametrize("layout", ["dense", "drawn"])
def test_every_figure_is_what_a_loop_over_examples_says(
    layout: str,
    make_run: MakeRun,
    terms_of_two: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_blocks(monkeypatch)
    a, b = terms_of_two
    kinds: list[dict[str, np.ndarray] | None] = [None, None]
    if layout == "drawn":
        (a, kinds[0]), (b, kinds[1]) = sampled(a, 3), sampled(b, 4)
    index = np.array([[40, 3, 2, 9, 11, 5, 1, 0, 7, 30, 31, 32], [5, 9, 2, 3, 40, 1, 11, 7, 60, 61, 62, 0]])
    snr = [chain(8), chain(8, top=6.0)]
    result = pair(*(make_run(str(i), x, kinds[i], index[i], snr[i]) for i, x in enumerate((a, b))))
    common = sorted(set(index[0]) & set(index[1]))
    each = [(a[index[0].tolist().index(i)], b[index[1].tolist().index(i)]) for i in common]

    def check(values: paired_module.Differences, k: int, of: list[float]) -> None:
        assert values.mean[k] == pytest.approx(statistics.mean(of) * SCALE, abs=1e-12)
        assert values.se[k] == pytest.approx(statistics.stdev(of) * SCALE / math.sqrt(9), abs=1e-12)
        assert values.high[k] - values.mean[k] == pytest.approx(quantile(8) * values.se[k])

    assert result.n == len(common) == 9
    steps = result.per_step
    assert steps is not None
    for t in range(9):
        check(steps.terms, t, [x[t] - y[t] for x, y in each])
    for t in range(1, 9):
        check(steps.cumulative, t - 1, [sum(x[1 : t + 1]) - sum(y[1 : t + 1]) for x, y in each])
    for k, (low, high) in enumerate(itertools.pairwise(steps.edges)):
        check(steps.pools, k, [sum(x[low:high]) - sum(y[low:high]) for x, y in each])
    check(result.sums, 0, [sum(x) - sum(y) for x, y in each])
    check(result.sums, 1, [x[0] - y[0] for x, y in each])
    check(result.sums, 2, [sum(x[2:]) - sum(y[2:]) for x, y in each])
    check(result.sums, 3, [x[1] - y[1] for x, y in each])

    def spent(x: np.ndarray, log_snr: np.ndarray, level: float) -> float:
        """L_0 and the steps down to `level`, each spread evenly over its log SNR."""
        share = [np.clip((log_snr[t - 1] - level) / (log_snr[t - 1] - log_snr[t]), 0, 1) for t in range(2, 9)]
        return float(x[1] + np.dot(share, x[2:]))

    for k, level in list(enumerate(result.grid))[1:-1]:
        check(result.over_log_snr, k, [spent(x, snr[0], level) - spent(y, snr[1], level) for x, y in each])
    check(result.over_log_snr, 0, [x[1] - y[1] for x, y in each])
    check(result.over_log_snr, -1, [sum(x) - sum(y) for x, y in each])


def test_chains_of_different_length_compare_in_total_and_over_log_snr(make_run: MakeRun) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.gamma(2.0, size=(20, 13)), rng.gamma(2.0, size=(20, 5))
    result = pair(make_run("a", a), make_run("b", b, log_snr=chain(4)))
    assert result.per_step is None
    assert not result.common_noise  # one t of these chains is not the other's: other levels, other noise
    assert result.sums.mean[0] == pytest.approx((a.sum(1) - b.sum(1)).mean() * SCALE, rel=1e-6)
    curve = result.over_log_snr.mean
    assert curve[0] == pytest.approx((a[:, 1] - b[:, 1]).mean() * SCALE, rel=1e-6)
    assert curve[-1] - curve[-2] == pytest.approx((a[:, 0] - b[:, 0]).mean() * SCALE, rel=1e-6)
    assert result.grid[1] == 7.0 and result.grid[-2] == -9.0


def test_the_length_of_a_chain_alone_does_not_move_the_curve() -> None:
    """The same bits per log SNR on 4 steps and on 40: the difference is zero at every level, not only at the end."""
    coarse, fine = chain(5), chain(41)
    grid = common_grid([coarse, fine])
    for_coarse, for_fine = up_to(coarse, grid), up_to(fine, grid)
    sums = [np.cumsum([1.0] + [8.0 / (T - 1)] * (T - 1)) for T in (5, 41)]
    spent = [s[reached - 1] + share * 8.0 / (len(s) - 1) for s, (reached, share) in zip(sums, (for_coarse, for_fine))]
    np.testing.assert_allclose(spent[0], spent[1], atol=1e-12)


def test_a_chain_of_one_step_and_one_that_ends_without_signal(make_run: MakeRun) -> None:
    one = pair(make_run("a", np.array([[1.0, 2.0], [2.0, 2.0]])), make_run("b", np.array([[1.0, 1.0], [1.0, 2.0]])))
    assert one.per_step is not None
    assert one.per_step.edges.tolist() == [1, 2]
    assert one.over_log_snr.mean.tolist() == pytest.approx([0.5 * SCALE] * (len(one.grid) - 1) + [SCALE])
    dark = chain(4)
    dark[-1] = -math.inf
    rng = np.random.default_rng(0)
    a, b = rng.gamma(1.0, size=(2, 6, 5))
    result = pair(make_run("c", a, log_snr=dark), make_run("d", b, log_snr=dark))
    assert np.isfinite(result.over_log_snr.mean).all()
    assert result.over_log_snr.mean[-1] == pytest.approx(result.sums.mean[0])
    assert result.over_log_snr.mean[-2] == pytest.approx((a - b)[:, 1:4].sum(1).mean() * SCALE, rel=1e-6)


def test_the_error_is_split_between_examples_and_draws(make_run: MakeRun) -> None:
    rng = np.random.default_rng(2)
    draws = rng.gamma(2.0, size=(2, 30, 3, 5)).astype(np.float32).astype(float)  # run, example, draw, t = 1..5
    directories = []
    for i, values in enumerate(draws):
        example, draw, t = (column.flatten() for column in np.indices(values.shape))
        rows = {
            "example": example, "draw": draw, "t": t + 1, "weight": np.full(len(t), 1 / 3), "nats": values.flatten().astype(np.float32),
        }  # fmt: skip
        nats = np.concatenate([np.zeros((30, 1)), values.mean(1)], 1)
        directories.append(make_run(str(i), nats, rows))
    result = pair(*directories)
    by_draw = (draws[0] - draws[1]).sum(2) * SCALE
    noise = math.sqrt(by_draw.var(1, ddof=1).mean() / 3 / 30)
    assert result.noise == pytest.approx(noise, rel=1e-5)
    assert result.between**2 + result.noise**2 == pytest.approx(result.sums.se[0] ** 2, rel=1e-4)


def test_what_is_not_in_common_is_known(make_run: MakeRun, terms_of_two: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = terms_of_two
    kept = np.zeros_like(a, bool)
    kept[:, 1:5] = True
    part = np.where(kept | (np.arange(9) == 0), a, 0)
    run = make_run("a", part, rows_of(part, kept))
    steps = pair(run, make_run("b", b)).per_step
    assert steps is not None and steps.shared == 0.5
    assert steps.evaluated.tolist() == [12] * 5 + [0] * 4
    assert not pair(run, make_run("c", b, bound_seed=1)).common_noise
    with pytest.raises(ConfigError, match=r"different examples; give both the same bound.examples\.$"):
        pair(run, make_run("d", b, index=np.arange(12) + 100))


def test_terms_that_do_not_add_up_are_refused(make_run: MakeRun, terms_of_two: tuple[np.ndarray, np.ndarray]) -> None:
    nats = terms_of_two[0]
    rows = rows_of(nats, np.ones_like(nats, bool))
    wrong = make_run("a", nats, rows | {"weight": rows["weight"] * (1 + 0.01 * (rows["t"] == 3))})
    with pytest.raises(ConfigError, match="do not add up"):
        pair(wrong, make_run("b", nats))
    with pytest.raises(ConfigError, match="cannot be read"):
        pair(make_run("c", nats, rows | {"t": rows["t"] + 1}), make_run("d", nats))
    with pytest.raises(ConfigError, match="cannot be read"):
        pair(make_run("e", nats, {"nats": nats[:, :4].astype(np.float32)}), make_run("f", nats))


def test_nothing_is_left_of_the_unpacked_terms(
    make_run: MakeRun, terms_of_two: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "aside"))
    (tmp_path / "aside").mkdir()
    pair(make_run("a", terms_of_two[0]), make_run("b", terms_of_two[1]))
    assert not list((tmp_path / "aside").iterdir())


@pytest.mark.parametrize("T", [1, 2, 3, 7, 100, 4000])
def test_pools_hold_every_t_once(T: int) -> None:
    edges = log_edges(T, POOLS)
    assert edges[0] == 1 and edges[-1] == T + 1 and (np.diff(edges) > 0).all() and len(edges) <= 62
    assert T == 1 or edges[1] == 2  # L_0 alone


def test_with_as_many_examples_as_needed_the_interval_ends_at_zero() -> None:
    n = needed(0.01, 0.02, 1000)
    assert n == pytest.approx(1000 * (quantile(999) * 2) ** 2)
    assert quantile(999) * 0.02 * math.sqrt(1000 / n) == pytest.approx(0.01)
    assert needed(0.0, 0.02, 1000) == math.inf


class Known:
    """Terms in memory."""

    def __init__(self, nats: np.ndarray) -> None:
        self.nats = nats

    def table(self, positions: np.ndarray) -> Table:
        return Table(self.nats[positions], np.ones_like(self.nats, bool)[positions], None)


@pytest.mark.parametrize("design", ["exhaustive", "stratified"])
def test_a_95_percent_interval_holds_the_truth(design: str) -> None:
    """1000 repetitions of N = 200 examples: 93-97% of the intervals of the total, of every part, of the terms (pooled),
    and of both cumulative curves hold the true difference. Skewed terms, correlated between t and between the runs."""
    rng = np.random.default_rng(0)
    N, T, repetitions = 200, 15, 1000
    level = np.append(0.1, np.linspace(2.0, 0.5, T))
    truth = np.append(0.0, 0.1 * np.cos(np.arange(T)))  # first - second, in nats
    sums = np.array([truth.sum(), truth[0], truth[2:].sum(), truth[1]])
    plan_design = stratified(5, 5, seed=0, batch_size=1)
    held = {name: np.zeros(2) for name in ("total", "parts", "terms", "over t", "over log SNR")}

    def count(name: str, values: paired_module.Differences, true: np.ndarray) -> None:
        inside = (values.low <= true * SCALE) & (true * SCALE <= values.high)
        held[name] += [inside.sum(), inside.size]

    for repetition in range(repetitions):
        image = rng.gamma(4.0, 0.25, size=(N, 1))  # some examples are harder, at every t
        shared = rng.gamma(4.0, 0.25, size=(N, T + 1))  # and the noise is common
        index = np.arange(N) + repetition * N
        runs, of = [], []
        for sign in (0.5, -0.5):
            nats = level * (image + shared + 0.3 * rng.gamma(4.0, 0.25, size=(N, T + 1))) + sign * truth
            if design == "exhaustive":
                runs.append(in_memory(nats, index=index))
                of.append(Known(nats))
                continue
            plan = plan_design.plan(torch.from_numpy(index), T)
            example, t, draw, weight = (column.numpy() for column in plan)
            values = nats[example, t]
            estimate = np.zeros_like(nats)
            np.add.at(estimate, (example, t), values * weight)
            estimate[:, 0] = nats[:, 0]
            runs.append(in_memory(estimate, index=index))
            of.append(Drawn(runs[-1], values, example, t, draw, weight))
        result = differ(*runs, *of)
        steps = result.per_step
        assert steps is not None and result.n == N
        count("total", paired_module.Differences(result.sums.mean[:1], result.sums.se[:1], N), sums[:1])
        count("parts", result.sums, sums)
        count("terms", steps.terms, truth)
        count("over t", steps.cumulative, truth[1:].cumsum())
        reached, share = up_to(chain(T), result.grid[:-1])
        curve = truth[1:].cumsum()[reached - 1] + share * np.append(truth[2:], 0)[reached - 1]
        count("over log SNR", result.over_log_snr, np.append(curve, truth.sum()))
    coverage = {name: inside / all_of_them for name, (inside, all_of_them) in held.items()}
    assert all(0.93 <= value <= 0.97 for value in coverage.values()), coverage


def test_a_drawn_level_is_no_level_of_a_chain(make_run: MakeRun, terms_of_two: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = terms_of_two
    drawn = make_run("a", a, T="inf")
    assert pair(drawn, make_run("b", b, T="inf")).common_noise
    result = pair(drawn, make_run("c", b))
    assert result.per_step is not None and not result.common_noise and result.first.label == "inf"
