"""A page of a sweep: runs grouped, coloured and filtered by what they differ in, means with their spread, a file in bounds."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.image import imsave
from PIL import Image

from difflab.bound.ledger import Ledger
from difflab.dashboard.sections import sections
from difflab.figure.pooling import transitions
from difflab.report import collect as collecting
from difflab.report.collect import collect
from difflab.report.curves import training
from difflab.report.detail import Detail
from difflab.report.factors import factors, levels
from difflab.report.page import render
from difflab.report.reader import Reader
from tests.report.conftest import RECORDED, STEM, Visit
from tests.report.test_report_page import HOVER, RESULT

SCALES = {("cosine", 0): 1.0, ("cosine", 1): 1.25, ("cosine", 2): 1.5, ("linear", 0): 2.0, ("linear", 1): 2.5, ("linear", 2): 3.5, ("linear", 3): 5.0}  # fmt: skip


def scaled(out: Path, schedule: str, seed: int, by: float) -> Path:
    """The recorded run as another: its terms and totals times `by`."""
    shutil.copytree(RECORDED, out, ignore=shutil.ignore_patterns("mapping"))
    result = json.loads((out / "result.json").read_text()) | {"seed": seed}
    result["choices"] |= {"schedule": schedule}
    for name in ("bpd", "transition_kl", "decoder_nll", "mean_error", "variance_mismatch"):
        result[name] *= by
    (out / "result.json").write_text(json.dumps(result))
    config = yaml.safe_load((out / ".hydra" / "config.yaml").read_text())
    config["seed"], config["schedule"]["name"] = seed, schedule
    (out / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    table = out / "bound" / f"{STEM}.csv"
    rows = list(csv.DictReader(table.open()))
    for row in rows:
        row |= {
            k: repr(float(row[k]) * by) for k in ("bpd", "bpd_se", "mean_error_bpd", "variance_mismatch_bpd") if row[k]
        }
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (out / "bound" / f"{STEM}.npz").unlink()
    return out


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sweep")
    runs = [scaled(folder / f"{s}{seed}", s, seed, by) for (s, seed), by in SCALES.items()]
    return render(collect(runs, {run: run.name for run in runs}))


def of(schedule: str) -> list[float]:
    return [by for (own, _), by in SCALES.items() if own == schedule]


def test_seeds_are_drawn_as_their_mean_with_the_spread_between_them(visit: Visit, sweep: str) -> None:
    script = HOVER + """
    const series = window.difflab.charts["chart-per-t"].chart.series.map((s) => [s.name, s.points.map((p) => [p.x, p.y, p.se])]);
    const groups = [...document.querySelectorAll("[data-group]")].map((n) => [n.dataset.group, n.dataset.key, Number(n.dataset.value), n.textContent]);
    return { series, groups, legend: document.querySelector("#per-t .legend").textContent };
    """  # fmt: skip
    told = visit(sweep, script)
    rows = {int(r["t"]): float(r["bpd"]) for r in csv.DictReader((RECORDED / "bound" / f"{STEM}.csv").open()) if r["term"] == "transition_kl"}  # fmt: skip
    assert [name for name, _ in told["series"]] == ["cosine (3), Lₜ₋₁", "linear (4), Lₜ₋₁"]
    for (_, points), schedule in zip(told["series"], ("cosine", "linear")):
        scales = of(schedule)
        for t, y, se in points:
            assert y == pytest.approx(rows[round(t)] * np.mean(scales), rel=1e-4)
            assert se == pytest.approx(rows[round(t)] * np.std(scales, ddof=1), rel=1e-3)
    means = {(group, key): value for group, key, value, _ in told["groups"]}
    assert means["linear", "mean.bpd"] == pytest.approx(RESULT["bpd"] * np.mean(of("linear")))
    (text,) = [text for group, key, _, text in told["groups"] if (group, key) == ("cosine", "mean.bpd")]
    assert text == f"{RESULT['bpd'] * 1.25:.4f} ± {RESULT['bpd'] * np.std(of('cosine'), ddof=1):.4f}"
    assert "one standard deviation between the runs" in told["legend"]


def test_the_view_groups_colours_and_filters(visit: Visit, sweep: str) -> None:
    script = HOVER + """
    const names = () => window.difflab.charts["chart-per-t"].chart.series.map((s) => [s.name, s.colour, s.dash]);
    const box = (text) => [...document.querySelectorAll("#viewing label")].find((one) => one.textContent === text).querySelector("input");
    const chosen = () => document.getElementById("chosen").textContent;
    const told = { pictures: document.querySelectorAll("#samples img").length };
    box("each run").click();
    told.runs = names().length;
    told.side = document.querySelectorAll("#samples img").length;
    const colour = document.getElementById("colour");
    colour.value = "schedule";
    colour.dispatchEvent(new Event("change"));
    told.coloured = names();
    box("linear").click();
    told.only = [names().length, chosen()];
    box("linear").click();
    box("means of groups").click();
    box("schedule").click();  // no longer a reason to be apart
    told.one = names().map(([name]) => name);
    const find = document.getElementById("find");
    find.value = "E1";
    find.dispatchEvent(new Event("input"));
    told.found = chosen();
    [...document.querySelectorAll("#viewing button")].find((b) => b.textContent === "none").click();
    told.none = document.getElementById("chart-per-t").textContent;
    return told;
    """  # fmt: skip
    told = visit(sweep, script)
    assert (told["pictures"], told["runs"], told["side"]) == (2, 7, 7)  # the best of each group, then of each run
    colours = [(colour, dash) for _, colour, dash in told["coloured"]]
    assert len({colour for colour, _ in colours}) == 2
    assert len(set(colours)) == 7  # those of one colour differ in their dashes
    assert told["only"] == [3, "Runs (3 of 7)"]
    assert told["one"] == ["all runs (7), Lₜ₋₁"]
    assert told["found"] == "Runs (1 of 7)"  # cosine1
    assert "Nothing to draw" in told["none"]


def test_the_page_has_the_workspaces_sections_in_their_order(visit: Visit, sweep: str) -> None:
    script = "return [...document.querySelectorAll('.chapter > h2')].map((h) => h.textContent)"
    wanted = [section.name for section in sections("bpd")]
    assert visit(sweep, script) == [*(name for name in wanted if name != "Space"), "Runs"]  # no run has a space
    assert "Space" in wanted


def test_training_and_speed_are_overlaid(visit: Visit, sweep: str) -> None:
    script = (
        HOVER
        + "return ['chart-training', 'chart-speed', 'chart-variance-parts'].map((id) => window.difflab.charts[id].chart.series.map((s) => [s.name, s.points.length, s.points[0].y]))"
    )
    lines, speed, parts = visit(sweep, script)
    rows = [json.loads(line) for line in (RECORDED / "metrics.jsonl").read_text().splitlines()]
    train = [row for row in rows if "train/bpd" in row]
    assert [(name, n) for name, n, _ in lines] == [(f"{g}, {what}", n) for g in ("cosine (3)", "linear (4)") for what, n in (("training steps", len(train)), ("validation", 4))]  # fmt: skip
    assert lines[0][2] == pytest.approx(train[0]["train/bpd"], rel=1e-5)
    assert speed[0][2] == pytest.approx(train[0]["train/images_per_s"], rel=1e-5)
    first = next(row for row in rows if "val/bpd" in row)
    assert parts[0][2] == pytest.approx(first["val/mean_error"], rel=1e-5)


@pytest.mark.parametrize("width", [400])
def test_a_page_of_many_fits_a_phone(visit: Visit, sweep: str, width: int) -> None:
    script = """
    document.getElementById("view").open = true;
    const box = document.getElementById("viewing").getBoundingClientRect();
    const root = document.documentElement;
    return [root.scrollWidth <= root.clientWidth, box.left >= 0, box.right <= innerWidth, box.width > 0.8 * innerWidth];
    """
    assert visit(sweep, script, width=width) == [True] * 4


def test_curves_that_were_pooled_differently_are_added_up_to_common_borders(visit: Visit, sweep: str) -> None:
    script = """
    const curve = (last, scale, T = 12) => { const first = last.map((_, i) => (i ? last[i - 1] + 1 : 2));
      const sums = last.map((t, i) => { let sum = 0; for (let u = first[i]; u <= t; u++) sum += u; return scale * sum; });
      return { first, last, T, count: last.map(() => 9), largest: 1, value: sums, se: sums, mean_error: sums, variance_mismatch: sums,
        decoder_nll: [scale, 0], prior_kl: [0, 0], log_snr_s: first.map((t) => 20 - t), log_snr_t: last.map((t) => 19 - t) }; };
    const a = curve([2, 3, 4, 5, 6, 7, 8, 9, 12], 1), b = curve([2, 3, 4, 5, 6, 8, 9, 10, 12], 3);
    const mean = MEANS.curve([a, b]);
    return [mean.first, mean.last, mean.value, mean.se, mean.log_snr_s, mean.decoder_nll, MEANS.curve([a, curve([2, 3, 13], 1, 13)])];
    """
    first, last, value, se, log_snr, decoder, none = visit(sweep, script)
    assert last == [2, 3, 4, 5, 6, 8, 9, 12] and first == [2, 3, 4, 5, 6, 7, 9, 10]
    sums = [sum(range(a, b + 1)) for a, b in zip(first, last)]
    assert value == [2 * s for s in sums]
    assert se == pytest.approx([np.std([s, 3 * s], ddof=1) for s in sums])
    assert log_snr == [20 - t for t in first]
    assert decoder == pytest.approx([2, np.std([1, 3], ddof=1)])
    assert none is None


# -- what is kept of a run ----------------------------------------------------------------------------------------------


def test_factors_are_what_the_choices_do_not_settle() -> None:
    def config(**keys: str) -> dict[str, str]:
        return {"data.name": "digits", "model.channels": "16", "seed": "0", "tracker.name": "none"} | keys

    configs = [
        config(**{"schedule.name": "linear", "schedule.last_beta": "0.02", "schedule.T": "100"}),
        config(**{"schedule.name": "cosine", "schedule.T": "1000", "seed": "1", "tracker.name": "x"}),
        config(**{"schedule.name": "cosine", "schedule.T": "50", "seed": "10", "bound.seed": "4"}),
    ]
    results = [{"seed": 0, "choices": {"schedule": "linear"}}, {"seed": 1}, {}]
    found = factors(configs, results)
    assert found == {"schedule": ["linear", "cosine", "cosine"], "schedule.T": ["100", "1000", "50"], "seed": ["0", "1", "10"]}  # fmt: skip
    assert levels(found["schedule.T"]) == ["50", "100", "1000"]
    assert levels(["inf", "2", "b", "a", "1e-3"]) == ["1e-3", "2", "inf", "a", "b"]
    assert factors(configs[:1], results[:1]) == {}


def test_pools_are_fine_where_single_terms_decide() -> None:
    T, key = 1000, "bpd"
    ledger = Ledger.load(RECORDED / "bound" / f"{STEM}.csv", RESULT)
    rows = np.flatnonzero(ledger.columns["term"] == "transition_kl")
    columns = {name: np.repeat(values[rows[:1]], T - 1) for name, values in ledger.columns.items()}
    columns |= {
        "t": np.arange(2, T + 1),
        key: np.random.default_rng(0).exponential(size=T - 1),
        "count": np.full(T - 1, 9),
    }
    made = Ledger(ledger.unit, columns, ledger.totals)
    for points in (60, 150, 500):
        pooled = transitions(made, points, fine_ends=True)
        assert points / 3 < len(pooled.first) <= points
        assert pooled.value.sum() == pytest.approx(columns[key].sum())
        assert (pooled.size[:3] == 1).all()
        assert (pooled.size[-3:] == 1).all()
        assert pooled.size.argmax() == pytest.approx(len(pooled.size) / 2, abs=len(pooled.size) / 4)
        assert pooled.first[0] == 2 and pooled.last[-1] == T and (pooled.first[1:] == pooled.last[:-1] + 1).all()
    assert len(transitions(made, T, fine_ends=True).first) == T - 1


def test_a_long_training_curve_is_means_that_hide_no_failure(tmp_path: Path) -> None:
    rows = [{"step": 5 * i, "train/bpd": float(i), "train/loss": 1.0} for i in range(1, 101)]
    rows[49]["train/loss"] = float("nan")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = training(Reader(tmp_path), 30)
    assert found and found["pooled"] == 4
    assert [row[:2] for row in found["train"][:2]] == [[20, 2.5], [40, 6.5]]
    assert found["train"][-1][0] == 500 and len(found["train"]) == 25
    assert [row[2] for row in found["train"]].count(None) == 1  # the mean that the NaN is in
    whole = training(Reader(tmp_path), 100)
    assert whole and whole["pooled"] == 1 and len(whole["train"]) == 100


@pytest.mark.parametrize(
    ("colour", "alpha", "size"), [(False, False, 24), (True, False, 24), (True, True, 24), (False, False, 23)]
)
def test_a_smaller_picture_shows_the_same_pixels(tmp_path: Path, colour: bool, alpha: bool, size: int) -> None:
    small = np.random.default_rng(0).integers(0, 255, (8, 8, 4), dtype=np.uint8)
    if not colour:
        small[..., :3] = small[..., :1]
    if not alpha:
        small[..., 3] = 255
    pixels = np.ascontiguousarray(small.repeat(3, 0).repeat(3, 1)[:size])
    imsave(tmp_path / "a.png", pixels)
    data = collecting._smaller(tmp_path / "a.png")
    got = np.array(Image.open(io.BytesIO(data)).convert("RGBA"))
    k = len(pixels) // len(got)
    assert k == (3 if size == 24 else 1)
    assert np.array_equal(got.repeat(k, 0).repeat(k, 1), pixels)
    assert len(data) < (tmp_path / "a.png").stat().st_size


def test_eighty_runs_stay_a_file_of_a_few_megabytes(tmp_path: Path) -> None:
    """One run as a page of 80 holds it, with a training of 20,000 logged rows and 500 validations: 80 of it."""
    run = scaled(tmp_path / "run", "cosine", 0, 1.0)
    row, *_ = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row | {"step": i}) + "\n" for i in range(1, 20_001)))
    (one,) = run.glob("bound/val_step_00000030.csv")
    for step in range(200, 700):
        for kind in ("val", "train"):
            shutil.copy(one.with_name(f"{kind}_step_00000030.csv"), one.with_name(f"{kind}_step_{step:08d}.csv"))
    many, _ = collecting._run(run, "a", Detail.of(80))
    few, _ = collecting._run(run, "a", Detail.of(1))
    assert 80 * len(json.dumps(many, separators=(",", ":"))) < 9e6
    assert len(few["heat"]["steps"]) == 60 > len(many["heat"]["steps"]) == 12
    assert many["samples"][0]["step"] is None  # the final picture is there


def test_what_all_runs_share_is_sent_once(sweep: str) -> None:
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', sweep, re.S)[0])
    assert data["shared"]["data.name"] == "digits"
    assert set().union(*(run["config"] for run in data["runs"])) == {"seed", "schedule.name"}
    assert data["factors"] == [{"name": "schedule", "levels": ["cosine", "linear"]}, {"name": "seed", "levels": ["0", "1", "2", "3"]}]  # fmt: skip
