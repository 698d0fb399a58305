"""Effects on parts of the bound: planted ones are found again, intervals hold the truth, nothing is invented."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml

from difflab import tables
from difflab.card.blocks import markdown
from difflab.compare.effects import Cells, Effects, effect_table, effects, estimated, share_table
from difflab.compare.factors import Factor
from difflab.compare.measurement import Measurement, read_own
from difflab.compare.parts import Part, Parts, band_times, bands, chains, collect
from difflab.compare.seeds import groups
from difflab.compare.sources import configuration
from difflab.compare.told import blocks
from tests.compare.made_up import DIMS, MakeRun, chain

NATS = DIMS * math.log(2)  # nats of one unit
COST = {"a": 0.0, "b": 0.5, "c": -0.2}


def run(make: MakeRun, nats: np.ndarray, seed: int = 0, log_snr: np.ndarray | None = None, **choices: str) -> Path:
    name = "-".join([*choices.values(), str(seed)])
    config = {"seed": seed, **{key: {"name": value} for key, value in choices.items()}}
    directory = make(name, nats, config=config, log_snr=log_snr, floors={"uniform": 4.0})
    lines = [*(f"{key}={value}" for key, value in choices.items()), f"seed={seed}"]
    (directory / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(lines))
    return directory


def told(directories: list[Path], jobs: list[Path] | None = None) -> Effects:
    runs = [read_own(d, d.name) for d in directories]
    found = groups(runs, [configuration(d) for d in directories], [d.name.rpartition("-")[0] for d in directories])
    return effects(found, jobs or directories)


def page(found: Effects, directories: list[Path]) -> str:
    runs = [read_own(d, d.name) for d in directories]
    return markdown(blocks(found, runs, chains(runs)))


def value(found: Effects, kind: str, level: str, part: str, view: str = "all cells", what: str = "value") -> float:
    table = effect_table(found)
    row = (table["view"] == view) & (table["kind"] == kind) & (table["level"] == level) & (table["part"] == part)
    (answer,) = table[what][row]
    return float(answer)


def share(found: Effects, effect: str, part: str, view: str = "all cells") -> float:
    table = share_table(found)
    (answer,) = table["share"][(table["view"] == view) & (table["effect"] == effect) & (table["part"] == part)]
    return float(answer)


def grid(make: MakeRun, seeds: int = 2, without: tuple[tuple[str, str], ...] = (), n: int = 40) -> list[Path]:
    """`noise` moves L_0 alone, `head` the last of eight terms and a little L_0; seeds scatter; examples differ by far more."""
    rng = np.random.default_rng(0)
    example, found = rng.gamma(2.0, size=(n, 9)) * NATS / 9, []
    for noise, head in product("abc", "xy"):
        for seed in range(seeds):
            nats = example + 0.01 * NATS * rng.normal(size=(n, 9))
            nats[:, 1] += NATS * (COST[noise] + 0.01 * (head == "y") + 0.003 * rng.normal())
            nats[:, 8] += NATS * 0.3 * (head == "y")
            if (noise, head) not in without:
                found.append(run(make, nats, seed, noise=noise, head=head))
    return found


@pytest.mark.parametrize("without", [(), (("a", "x"), ("c", "y"))])
def test_which_choice_moves_which_term(make_run: MakeRun, without) -> None:
    found = told(grid(make_run, without=without))
    assert [(f.name, f.levels) for f in found.factors] == [("head", ("x", "y")), ("noise", ("a", "b", "c"))]
    assert [view.name for view in found.views] == ["all cells", "all cells, logarithms"] and not found.left_out
    assert value(found, "difference", "b", "decoder_nll") == pytest.approx(COST["b"] - COST["c"], abs=0.02)
    assert value(found, "difference", "y", "decoder_nll") == pytest.approx(0.01, abs=0.02)
    last = found.views[0].parts[-1].name
    assert value(found, "difference", "y", last) == pytest.approx(0.3, abs=0.01)
    assert value(found, "difference", "b", last) == pytest.approx(0.0, abs=0.01)
    assert sum(value(found, "effect", level, "bound") for level in "abc") == pytest.approx(0, abs=1e-12)
    if not without:
        assert share(found, "noise", "decoder_nll") > 0.98 and share(found, "head", last) > 0.98
        whole = sum(share(found, e, "bound") for e in ("head", "noise", "head x noise", "rest", "shared"))
        assert whole == pytest.approx(1)
    assert share(found, "trainings alone", "decoder_nll") < 0.05
    parts = [p.name for p in found.views[0].parts if p.band]
    for contrast in ("b", "y"):  # the bands, L_0 and L_T add up to the difference of the bounds
        together = sum(value(found, "difference", contrast, p) for p in (*parts, "decoder_nll", "prior_kl"))
        assert together == pytest.approx(value(found, "difference", contrast, "bound"), abs=1e-6)


def test_the_page_names_the_largest_movers(make_run: MakeRun) -> None:
    directories = grid(make_run)
    found = told(directories)
    text = page(found, directories)
    moved = round(100 * share(found, "noise", "decoder_nll"))
    assert f"L_0: noise moves {moved}% of its variation between cells" in text
    gap, last = (value(found, "difference", "y", part) for part in ("bound", found.views[0].parts[-1].name))
    assert (
        f"head=y costs {gap:+.4f} more than x: {last:+.4f} at log SNR below -6 (t = 8), " in text
    )  # the chain ends at -9
    assert "noise=b costs +0." in text and " more than c: +" in text and " in L_0, " in text
    assert "One seed" not in text and "seeds ±" in text
    head, tail = "Along the chain, from clean to noise, what moves most is ", "head at log SNR below -6 (t = 8)."
    assert head in text and tail in text
    one = [d for d in directories if d.name.endswith("-0")]
    text = page(told(one), one)
    assert "unknown here (one seed each)" in text and "seeds ±" not in text


def test_paired_intervals_are_of_each_examples_own_contrast(make_run: MakeRun) -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.gamma(2.0, size=(30, 9)).astype(np.float32).astype(float) for _ in range(2))
    found = told([run(make_run, a, head="x"), run(make_run, b, head="y")])
    best, other = ("x", "y") if a.sum() < b.sum() else ("y", "x")
    gap = (a.sum(1) - b.sum(1)) / NATS * (1 if best == "y" else -1)
    assert value(found, "difference", other, "bound") == pytest.approx(gap.mean())
    assert value(found, "difference", other, "bound", what="paired_se") == pytest.approx(
        gap.std(ddof=1) / math.sqrt(30)
    )
    assert math.isnan(value(found, "difference", other, "bound", what="seeds_se"))  # one seed


def made(values: np.ndarray) -> Parts:
    """Runs [R, N] or [R, N, P] without files; a part can be another repetition of an experiment."""
    each = values.reshape(*values.shape[:2], -1)
    parts = tuple(Part(f"bound {i}" if i else "bound", "") for i in range(each.shape[2]))
    return Parts(parts, np.zeros(0), np.arange(each.shape[1]), each.mean(1), each)


def test_intervals_hold_the_truth_at_their_level() -> None:
    """Over examples: of a contrast of these networks. Over seeds: of the recipes, though one cell scatters ten times as much.
    2,000 repetitions know a coverage of 95% to ± 0.5%; Satterthwaite's is a little above it."""
    rng, used = np.random.default_rng(3), [Factor("a", ("0", "1")), Factor("b", ("0", "1"))]
    places = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    truth, sd, seeds, n, times = np.array([1.0, 1.2, 1.5, 1.7]), np.array([0.02, 0.02, 0.05, 0.2]), 4, 25, 2000
    cells = Cells(list("wxyz"), places, [[seeds * c + s for s in range(seeds)] for c in range(4)])
    network = truth.repeat(seeds)[:, None, None] + sd.repeat(seeds)[:, None, None] * rng.normal(
        size=(4 * seeds, 1, times)
    )
    own = 0.3 * rng.normal(size=(4, n, times)).repeat(seeds, 0)
    values = network + rng.normal(size=(n, times)) + own  # examples are alike in all
    of_these = network[:, 0].reshape(4, seeds, times).mean(1)
    for kind, given in (("paired", values), ("seeds", np.repeat(network, 2, 1))):
        for c in estimated("all cells", made(given), cells, used, []).of("difference"):
            weights = np.array([-0.5, -0.5, 0.5, 0.5] if c.factor == "a" else [-0.5, 0.5, -0.5, 0.5])
            sign = 1 if c.level == "1" else -1
            target, half = (of_these, c.paired_half) if kind == "paired" else (truth, c.seeds_half)
            inside = (np.abs(c.value - sign * weights @ target) <= half).mean()
            assert 0.935 <= inside <= (0.965 if kind == "paired" else 0.985), (kind, c.factor, inside)


def test_cells_of_one_training_scatter_like_the_others_or_not_at_all() -> None:
    used, places = [Factor("a", ("0", "1"))], np.array([[0], [1]])
    values = np.array([1.0, 3.0, 7.0])[:, None] + np.arange(3.0)
    view = estimated("all cells", made(values), Cells(["x", "y"], places, [[0, 1], [2]]), used, [])
    (c,) = view.of("difference")
    assert view.borrowed == 1
    assert c.value[0] == pytest.approx(5.0)
    assert c.seeds_se[0] == pytest.approx(math.sqrt(2 / 2 + 2 / 1)) and c.seeds_df[0] == pytest.approx(1)
    assert view.trainings[0] == pytest.approx((2 / 2 + 2 / 1) / 2 / (5**2 / 2))
    view = estimated("all cells", made(values[1:]), Cells(["x", "y"], places, [[0], [1]]), used, [])
    assert view.borrowed == 0 and math.isnan(view.of("difference")[0].seeds_se[0]) and math.isnan(view.trainings[0])


def test_on_logarithms_effects_multiply(make_run: MakeRun) -> None:
    rng, found = np.random.default_rng(4), []
    example = rng.gamma(2.0, size=(30, 9)).astype(np.float32).astype(float)
    for a, b in product((1, 8), (1, 2)):
        found.append(run(make_run, example * a * b, head=f"x{a}", noise=f"y{b}"))
    of = told(found)
    view = "all cells, logarithms"
    for part in ("bound", "decoder_nll", "prior_kl"):
        assert value(of, "difference", "x8", part, view) == pytest.approx(math.log(8), rel=1e-6)
        assert value(of, "difference", "y2", part, view) == pytest.approx(math.log(2), rel=1e-6)
        assert value(of, "interaction", "x8 x y2", part, view) == pytest.approx(0, abs=1e-6)
        assert value(of, "difference", "x8", part, view, "paired_se") == pytest.approx(0, abs=1e-6)
    assert (
        share(of, "head x noise", "bound", view) < 1e-9 < 0.05 < share(of, "head x noise", "bound")
    )  # on the plain scale they do
    negative = run(make_run, -example, head="x1", noise="z")
    views = told([*found, negative]).views
    assert not [v for v in views if v.log]  # nothing is positive everywhere


def test_a_delta_method_error_is_the_jackknifes(make_run: MakeRun) -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.gamma(4.0, size=(200, 9)).astype(np.float32).astype(float) for _ in range(2))
    found = told([run(make_run, a, head="x"), run(make_run, b, head="y")])
    other = "y" if a.sum() < b.sum() else "x"
    logs = [np.log(np.delete(x.sum(1), i).mean()) for x in (a, b) for i in range(200)]
    gaps = np.array(logs[:200]) - np.array(logs[200:])
    jackknife = math.sqrt(199 / 200 * ((gaps - gaps.mean()) ** 2).sum())
    found_se = value(found, "difference", other, "bound", "all cells, logarithms", "paired_se")
    assert found_se == pytest.approx(jackknife, rel=0.02)


def test_wild_cells_are_left_out_and_named(make_run: MakeRun) -> None:
    directories = grid(make_run, seeds=1)
    wild = run(make_run, 100 * NATS * np.ones((40, 9)) / 9, noise="d", head="x")
    found = told([*directories, wild])
    assert [v.name for v in found.views] == ["without wild cells", "all cells", "all cells, logarithms"]
    assert found.left_out == ["d-x"] and found.limit == pytest.approx(max(4.0, 2 * found.views[0].means[:, 0].min()))
    assert value(found, "difference", "b", "decoder_nll", "without wild cells") == pytest.approx(0.7, abs=0.02)
    assert "noise: no cell of d is left" in " ".join(found.notes)
    text = page(found, [*directories, wild])
    assert "Left out: 1 cell whose bound is above" in text and "d-x" in text


def test_nothing_is_invented(make_run: MakeRun) -> None:
    rng = np.random.default_rng(6)
    runs = [run(make_run, rng.gamma(2.0, size=(10, 9)), head=h, noise=n) for h, n in ("xa", "yb")]
    found = told(runs)  # two choices that vary as one
    assert math.isnan(value(found, "effect", "x", "bound")) and value(found, "effect", "a", "bound", what="examples")
    assert {"head cannot be told from these cells.", "noise cannot be told from these cells."} <= set(found.notes)
    assert "not to be had from these cells" in page(found, runs)
    lost = run(make_run, rng.gamma(2.0, size=(10, 9)), head="x", noise="c")  # a job that failed
    found = told(runs[:1], [runs[0], lost])
    assert not found.views and "noise has only a here (no cell of c)" in found.notes[0]
    assert "no effects to tell" in page(found, runs[:1])
    assert told(runs[:1]).factors == () and page(told(runs[:1]), runs[:1]).strip() == ""
    apart = run(make_run, rng.gamma(2.0, size=(10, 9)), head="q", noise="a")
    other = read_own(apart, "q")
    moved = Measurement(**{**other.__dict__, "index": other.index + 100})
    runs_apart = [read_own(runs[0], "x"), moved]
    of = effects(groups(runs_apart, [{}, {}], ["x", "q"]), [runs[0], apart])
    assert not of.views and "no example in common" in of.notes[0]


def test_the_order_of_the_runs_is_nothing(make_run: MakeRun) -> None:
    directories = grid(make_run, without=(("a", "x"),))
    first = told(directories)
    order = np.random.default_rng(7).permutation(len(directories))
    second = told([directories[i] for i in order])
    assert [view.names for view in first.views] == [view.names for view in second.views]
    for make in (effect_table, share_table):
        a, b = make(first), make(second)
        for name, column in a.items():
            same = (
                np.array_equal
                if column.dtype.kind in "UO"
                else lambda x, y: np.allclose(x, y, atol=1e-12, equal_nan=True)
            )
            assert same(column, b[name]), name


def test_tables_are_read_back(make_run: MakeRun, tmp_path: Path) -> None:
    found = told(grid(make_run, seeds=1))
    for name, columns in (("effects", effect_table(found)), ("shares", share_table(found))):
        back = tables.load(tables.save(tmp_path / f"{name}.csv", columns))
        assert list(back) == list(columns)
    assert effect_table(Effects((), [], {}, [])) == {}


def test_bands_hold_the_terms_of_any_chain() -> None:
    """A term lies where its step does; the bands of every chain add up to its transitions."""
    edges = bands([chain(8), chain(30, 11.0, -4.0)])
    assert edges.tolist() == [math.inf, 10, 8, 6, 4, 2, 0, -2, -4, -6, -math.inf]
    times = band_times(chain(30, 11.0, -4.0), edges)
    assert next(span for span in times if span) == (2, 3) and times[-1] is None
    assert sum(b - a + 1 for a, b in filter(None, times)) == 29
    assert band_times(np.append(chain(8)[:-1], -math.inf), edges)[-1] == (8, 8)  # zero signal at the end
    assert bands([chain(1)]).tolist() == [math.inf, 6, 4, 2, 0, -2, -4, -6, -math.inf]


def test_runs_of_other_lengths_have_bands_in_common(make_run: MakeRun) -> None:
    rng = np.random.default_rng(8)
    a, b = rng.gamma(2.0, size=(12, 9)), rng.gamma(2.0, size=(12, 31))
    directories = [run(make_run, a, head="x"), run(make_run, b, head="y", log_snr=chain(30, 11.0, -4.0))]
    runs = [read_own(d, d.name) for d in directories]
    parts = collect(runs)
    assert parts is not None
    band = [i for i, part in enumerate(parts.parts) if part.band]
    whole = [p.name for p in parts.parts].index("transition_kl")
    for r in (0, 1):
        assert parts.each[r][:, band].sum(1) == pytest.approx(parts.each[r][:, whole])
    assert parts.each[1][:, band[-1]] == pytest.approx(0, abs=1e-12)  # it has no level below -6
    assert len(chains(runs)) == 2
    text = page(told(directories), directories)
    assert "head alone was varied" in text and "schedule T=8" in text and "schedule T=30" in text
