"""The order, the marks, what would settle the rest, and how the page says it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from difflab import tables
from difflab.compare.markdown import page, verdict
from difflab.compare.measurement import read_own
from difflab.compare.paired import Paired
from difflab.compare.ranking import Entry, log_snr_table, rank, settle, split_size, table, term_table
from difflab.compare.seeds import groups
from difflab.compare.sources import Sources
from difflab.compare.student import ALPHA, against_the_best, p_value, quantile
from tests.compare.made_up import DESIGN, DIMS, MakeRun, chain

SCALE = 1 / (DIMS * math.log(2))
RNG = np.random.default_rng(0)
COMMON = RNG.gamma(4.0, size=(60, 6))


def near(shift: float, seed: int, spread: float = 0.4) -> np.ndarray:
    """Terms [60, 6] whose bound is about `shift` nats above COMMON's."""
    return COMMON + shift / 6 + spread * np.random.default_rng(seed).standard_normal((60, 6))


def ranked(*directories: Path) -> list[Entry]:
    return rank([read_own(directory, directory.name) for directory in directories])


def test_the_lowest_is_best_and_marks_are_adjusted_for_that_choice(make_run: MakeRun) -> None:
    entries = ranked(*(make_run(f"r{i}", near(s, i)) for i, s in enumerate((0.35, -2.0, 0.0, 3.0))))
    bounds = [entry.run.bound for entry in entries]
    assert bounds == sorted(bounds) and entries[0].paired is None
    pairs = [entry.paired for entry in entries[1:] if entry.paired]
    assert all(pair.second is entries[0].run for pair in pairs)
    assert [entry.p for entry in entries[1:]] == against_the_best([pair.sums.p[0] for pair in pairs])
    assert [entry.significant for entry in entries] == [False, True, True, True]
    for entry, pair in zip(entries[1:], pairs):
        assert pair.sums.mean[0] == pytest.approx(entry.run.bound - entries[0].run.bound, rel=1e-5)
    assert rank([]) == []


@pytest.mark.parametrize("runs", [2, 5, 20])
def test_equal_runs_are_told_apart_in_five_of_a_hundred_comparisons(runs: int) -> None:
    """1,000 comparisons of runs without any difference, N = 200: the lowest of them is chosen, and that is paid for."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(1000):
        totals = rng.normal(size=(200, 1)) + 0.3 * rng.normal(size=(200, runs))
        best = int(totals.mean(0).argmin())
        differences = np.delete(totals - totals[:, [best]], best, 1)
        t = differences.mean(0) / (differences.std(0, ddof=1) / math.sqrt(200))
        alarms += min(against_the_best([p_value(float(x), 199) for x in t])) < ALPHA
    assert 0.02 < alarms / 1000 < 0.065  # 0.05 and three standard errors of the count


def test_significant_alone_is_not_significant_among_many(make_run: MakeRun) -> None:
    """A difference with p = 0.03 is marked in a comparison of two and not among twenty."""
    best = make_run("best", COMMON)
    each = np.random.default_rng(1).standard_normal(60)
    each = (each - each.mean()) / each.std(ddof=1)
    size = quantile(59, 0.03) / math.sqrt(60)
    runs = [make_run(f"r{i}", COMMON + (size + each[:, None]) / 6 * (1 + i)) for i in range(20)]
    alone, among = ranked(best, runs[0])[1], ranked(best, *runs)[1]
    assert alone.p == pytest.approx(0.03, rel=1e-3) and alone.significant and alone.settle is None
    assert among.p > ALPHA and among.settle is not None
    assert among.settle.examples > 60  # at the level of the whole comparison


def pair_of(make_run: MakeRun) -> Paired:
    pair = ranked(make_run("a", near(0.0, 1)), make_run("b", near(0.01, 2)))[1].paired
    assert pair is not None
    return pair


def test_as_many_examples_or_draws_as_said_would_settle_it(make_run: MakeRun) -> None:
    pair = pair_of(make_run)
    difference, se = float(pair.sums.mean[0]), float(pair.sums.se[0])
    settled = settle(pair)
    assert quantile(59) * se * math.sqrt(60 / settled.examples) == pytest.approx(difference, rel=0.01)
    assert settled.nfe == settled.examples * 2 * 5  # two runs, five terms each
    assert settled.split is None and math.isnan(settled.draws)

    def known(between: float, noise: float, split: int) -> Paired:
        result = {**pair.first.result, "split_examples": split}
        return replace(pair, first=replace(pair.first, result=result), between=between, noise=noise)

    assert settle(known(0, se, 10**9)).within_split
    split = settled.examples // 4
    most = settle(known(se * 0.1, se * math.sqrt(0.99), int(split)))
    assert most.within_split is False and most.draws_nfe == pytest.approx(split * 10 * most.draws)
    shrink = 60 / split  # all examples of the split, so many draws each
    left = math.sqrt(shrink * ((0.1 * se) ** 2 + 0.99 * se**2 / most.draws))
    assert quantile(59) * left == pytest.approx(difference, rel=0.01)
    assert settle(known(se * 0.9, se * math.sqrt(0.19), int(split))).draws == math.inf


def test_the_size_of_the_split_is_known_where_the_files_tell(make_run: MakeRun) -> None:
    sizes = [
        split_size(read_own(make_run(name, COMMON, **result)))
        for name, result in {
            "a": {"bound": {**DESIGN, "examples": None}},
            "b": {"bound": {**DESIGN, "examples": 60}},
            "c": {"bound": {**DESIGN, "examples": 1000}},
            "d": {"bound": {**DESIGN, "examples": None, "target_se": 0.1}},
            "e": {"split_examples": 10_000},
        }.items()
    ]
    assert sizes == [60, None, 60, None, 10_000]


def test_the_page_names_everything(make_run: MakeRun) -> None:
    runs = [make_run("worst", near(3.0, 1)), make_run("a|b", COMMON), make_run("close", near(0.0, 3))]
    runs.append(make_run("short", near(80.0, 4)[:, :4], log_snr=chain(3)))
    entries = ranked(*runs)
    sources = Sources([], {"lost": "it has no result"}, ["worst: why; x stands here"])
    text = page(entries, sources, groups([e.run for e in entries], [{}] * 4, list("abcd")), {"cell": "no gradient."})
    lines = text.splitlines()
    assert "4 runs on 60 examples of the test split, bits/dim" in lines[0] and "(Holm)" in lines[0]
    first = next(line for line in lines if line.endswith("| best |"))
    assert first.split(" | ")[0] in ("| a\\|b", "| close")
    worst = next(entry for entry in entries if entry.run.name == "worst")
    assert worst.paired is not None
    mean, low, high = (float(x[0]) for x in (worst.paired.sums.mean, worst.paired.sums.low, worst.paired.sums.high))
    assert f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]* |" in text
    assert "over log SNR they compare: short." in text
    assert (
        "examples, " in text and "nfe in both runs together, would make a difference of this size significant" in text
    )
    assert text.count("at the level of 3 comparisons") == 1
    assert "One seed each: how much training again would change is not known" in text
    assert "\nmeasured again: worst: why; x stands here.\n" in text
    assert "\nfailed: lost: it has no result.\n" in text
    assert text.endswith("\nnot defined: cell: no gradient.")
    assert page([], Sources([], {}), [], {}).startswith("No job finished")


def test_the_verdict_says_what_is_left_to_do(make_run: MakeRun) -> None:
    pair = pair_of(make_run)
    entry = Entry(pair.first, pair, 0.7, settle(pair))
    assert entry.settle is not None
    assert "(now 60; the split may have fewer)." in verdict(entry, 1)

    def said(**changes: float) -> str:
        assert entry.settle is not None
        return verdict(replace(entry, settle=replace(entry.settle, **changes)), 1)  # type: ignore[arg-type]

    assert "(the split has 1,000,000,000)." in said(split=10**9)
    assert "but the split has only 60 examples; measured with bound.draws=2" in said(split=60)
    assert "no number of draws of them would do." in said(split=60, draws=math.inf)
    assert "60 examples: 7 times as many draws of all of them would do, 4,200 nfe." in said(
        split=60, draws=6.2, draws_nfe=4234.0
    )
    assert "no number of network evaluations would make one" in said(examples=math.inf)


def test_noise_that_is_not_common_is_said(make_run: MakeRun) -> None:
    entries = ranked(make_run("a", COMMON), make_run("b", near(1.0, 1), bound_seed=3))
    text = page(entries, Sources([], {}), [], {})
    assert "b: its noise is not the best run's (bound.seed=3 and 0)." in text
    fewer = ranked(make_run("c", COMMON), make_run("d", near(1.0, 1)[:30]))
    assert ": 30 examples are common to both, the others are left out." in page(fewer, Sources([], {}), [], {})
    assert "Not in common" not in page(ranked(make_run("e", COMMON)), Sources([], {}), [], {})


def test_seeds_are_shown_apart_from_the_evaluation(make_run: MakeRun) -> None:
    runs = []
    for recipe, shift in (("x", 0.0), ("y", 3.0)):
        for seed in range(3):
            config = {"seed": seed, "model": {"name": recipe}}
            runs.append(make_run(f"{recipe}{seed}", near(shift + 0.2 * seed, 10 * seed + len(recipe)), config=config))
    entries = ranked(*runs)
    configs = [{"seed": e.run.result["seed"], "model": e.run.name[0]} for e in entries]
    text = page(entries, Sources([], {}), groups([e.run for e in entries], configs, [c["model"] for c in configs]), {})
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| x |", "| y |"))]
    assert [row[:2] for row in rows] == [["| x", "3"], ["| y", "3"]]
    assert rows[0][5] == "best" and float(rows[1][5]) == pytest.approx(3 * SCALE, abs=0.03)
    assert rows[1][6].startswith("± ") and rows[1][6].endswith("*") and "unknown" not in text


def test_the_tables_add_up_to_the_difference(make_run: MakeRun, tmp_path: Path) -> None:
    entries = ranked(
        make_run("a", COMMON), make_run("b", near(1.0, 1)), make_run("c", near(60.0, 2)[:, :5], log_snr=chain(4))
    )
    names = [entry.run.name for entry in entries]
    rows = tables.load(tables.save(tmp_path / "r.csv", table(entries)))
    assert rows["run"].tolist() == names and rows["difference"][0] == 0
    assert np.isnan(rows["p_adjusted"][0])
    for part in ("low", "high"):
        assert (rows[f"difference_{part}"][1:] != rows["difference"][1:]).all()
    sums = rows["difference_prior_kl"] + rows["difference_transition_kl"] + rows["difference_decoder_nll"]
    np.testing.assert_allclose(sums, rows["difference"], atol=1e-9)
    terms = tables.load(tables.save(tmp_path / "t.csv", term_table(entries)))
    assert set(terms["run"]) == {names[1]}  # the short chain has no terms in common
    assert terms["term"].tolist() == ["decoder_nll", *["transition_kl"] * 4, "prior_kl"]
    assert terms["difference"].sum() == pytest.approx(rows["difference"][1])
    np.testing.assert_allclose(terms["cumulative"], terms["difference"].cumsum(), atol=1e-9)
    curve = tables.load(tables.save(tmp_path / "l.csv", log_snr_table(entries)))
    for name, difference in zip(names[1:], rows["difference"][1:]):
        own = curve["run"] == name
        assert curve["log_snr"][own][0] == math.inf and curve["log_snr"][own][-1] == -math.inf
        assert curve["difference"][own][-1] == pytest.approx(difference)
    assert table([]) == {} and term_table(ranked(make_run("d", COMMON))) == {}
