"""What shows the mapping: arrows that add up to the bound, strips and clouds that are the record's, in a real browser too."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from difflab import tables
from difflab.bound.ledger import Ledger, terms
from difflab.gaussian import BITS
from difflab.mapping import record
from difflab.report import mapping
from difflab.report.collect import collect
from tests.report.conftest import RECORDED, STEM, Visit, page

RESULT = json.loads((RECORDED / "result.json").read_text())
ARRAYS, ABOUT = record.load(RECORDED / "mapping" / f"{STEM}.npz")
WAYS = ("log_snr", "t", "log_t")


def one(run: Path) -> dict[str, Any]:
    (only,) = collect([run], {run: "a run"})["runs"]
    return only


def ledger_of(values: np.ndarray, log_snr: np.ndarray) -> Ledger:
    """Of L_0, L_1, ..., L_(T-1) and last L_T."""
    T = len(values) - 1
    columns = {
        "t": np.append(np.arange(1, T + 1), T),
        "term": terms(T),
        "bpd": values,
        "log_snr_t": np.append(log_snr, log_snr[-1]),
    }
    return Ledger(BITS, columns, {})


@pytest.mark.parametrize("T", [1, 2, 3, 8, 9, 10, 100, 1000])
@pytest.mark.parametrize("last", [-9.0, 5.0, -math.inf])
def test_the_arrows_add_up_to_the_total_whatever_the_groups(T: int, last: float) -> None:
    values = np.random.default_rng(T).normal(size=T + 1) * np.geomspace(1, 1e-9, T + 1)
    log_snr = np.linspace(9, max(last, -9), T)
    log_snr[-1] = last if T > 1 else 9
    found = mapping.graph(ledger_of(values, log_snr), None)
    assert found["total"] == pytest.approx(math.fsum(values), abs=1e-12)
    for way in WAYS:
        groups = found["groups"][way]
        parts = [found["prior"], found["decoder"], *(group["value"] for group in groups)]
        assert sum(parts) == pytest.approx(found["total"], abs=1e-9)
        held = [t for group in groups for t in range(group["first"], group["last"] + 1)]
        assert held == list(range(2, T + 1))  # each transition in one group
        assert len(groups) <= mapping.GROUPS
        assert len(groups) == mapping.GROUPS or T <= 10 or way == "log_snr"


def test_the_arrows_of_a_run_are_its_ledgers_rows() -> None:
    graph, rows = one(RECORDED)["graph"], tables.load(RECORDED / "bound" / f"{STEM}.csv")
    assert graph["total"] == pytest.approx(RESULT["bpd"], abs=1e-9)
    assert [graph["prior"], graph["decoder"]] == pytest.approx([RESULT["prior_kl"], RESULT["decoder_nll"]], abs=1e-9)
    with np.load(RECORDED / "bound" / f"{STEM}.npz") as file:
        nats = file["nats"].astype(float)
    for way in WAYS:
        for group in graph["groups"][way]:
            inside = (rows["term"] == "transition_kl") & (rows["t"] >= group["first"]) & (rows["t"] <= group["last"])
            assert group["value"] == pytest.approx(rows["bpd"][inside].sum(), abs=1e-12)
            each = nats[:, group["first"] : group["last"] + 1].sum(1) / (64 * math.log(2))
            assert group["se"] == pytest.approx(each.std(ddof=1) / math.sqrt(len(each)), rel=1e-4)
            assert group["log_snr"] == pytest.approx(rows["log_snr_t"][group["last"] - 1], rel=1e-5)


def test_what_is_left_to_pay_falls_to_nothing_at_the_data() -> None:
    drawn, rates = one(RECORDED)["mapping"], tables.load(RECORDED / "bound" / f"{STEM}-rate_distortion.csv")
    assert drawn["t"] == [0, *ARRAYS["t"].tolist()]
    assert drawn["t"][1] == 1 and drawn["t"][-1] == 100
    assert drawn["left"][0] == 0
    rate = dict(zip(rates["t"].tolist(), rates["rate"].tolist()))
    for t, left in zip(drawn["t"][1:], drawn["left"][1:]):
        assert rate[t] + left == pytest.approx(RESULT["bpd"], rel=1e-5)  # paid so far, and still to be paid


def pixels(uri: str) -> np.ndarray:
    found = matplotlib.image.imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return (found * 255).round().astype(np.uint8)


def test_strips_are_the_records_pictures() -> None:
    strips = one(RECORDED)["mapping"]["strips"]
    assert strips["rows"] == 3
    for name in ("forward", "reverse", "x0_hat"):
        assert len(strips[name]) == len(ARRAYS[name])
        for uri, wanted in zip(strips[name], ARRAYS[name]):
            shown = pixels(uri)
            for k, picture in enumerate(wanted):
                part = shown[k * 9 : k * 9 + 8]
                assert (part[..., :3] == picture[0][..., None]).all() and (part[..., 3] == 255).all()
            assert (shown[8::9, :, 3] == 0).all()  # the gaps


def test_fewer_examples_are_shown_where_there_is_no_room() -> None:
    whole = mapping._strips(ARRAYS, 10**9)
    size = sum(len(uri) for name in ("forward", "reverse", "x0_hat") for uri in whole[name])
    some = mapping._strips(ARRAYS, size - 1)
    assert some["rows"] < whole["rows"] == 3
    assert mapping._strips(ARRAYS, 1)["rows"] == 1


def test_the_spectrum_is_the_records() -> None:
    drawn = one(RECORDED)["mapping"]["spectrum"]
    for key, prefix in (("raw", ""), ("centred", "centred_")):
        for name in ("power", "power_se", "drowned_t", "noised_power"):
            np.testing.assert_allclose(np.array(drawn[key][name], float), ARRAYS[prefix + name], rtol=1e-5)
    assert sum(drawn["coefficients"]) == 64


def test_a_damaged_record_is_a_sentence_and_a_run_without_one_has_none(recorded: Path) -> None:
    path = recorded / "mapping" / f"{STEM}.npz"
    for content in (b"PK\x03\x04 torn", b"", path.read_bytes()[:900]):
        path.write_bytes(content)
        run = one(recorded)
        assert run["mapping"] is None
        assert [note for note in run["notes"] if note.startswith(f"mapping/{STEM}.npz cannot be read (")]
        assert run["graph"]
    path.unlink()
    assert one(recorded)["mapping"] is None
    assert one(recorded)["notes"] == []


def test_the_record_of_the_highest_step_counts_and_only_for_its_own_weights(recorded: Path) -> None:
    path = recorded / "mapping" / f"{STEM}.npz"
    record.save(path.with_name("step_00000007.npz"), ARRAYS, ABOUT | {"step": 7})
    assert record.newest(recorded) == path
    place = recorded / "checkpoints" / STEM
    place.mkdir(parents=True)
    for sha, fits in ((ABOUT["weights"], True), ("0" * 64, False)):
        (place / "manifest.json").write_text(json.dumps({"ema.safetensors": {"sha256": sha, "size": 1}}))
        assert record.made_of(recorded, place) is fits
    path.write_bytes(b"torn")
    assert not record.made_of(recorded, place)


# -- in a browser -------------------------------------------------------------------------------------------------------


def test_the_page_draws_arrows_as_wide_as_their_bits(visit: Visit) -> None:
    script = """
    const told = [];
    for (const by of ["log SNR", "t", "log t"]) {
      [...document.querySelectorAll("#graph label")].find((one) => one.textContent === by).querySelector("input").click();
      const numbers = [...document.querySelectorAll("#graph td [data-key^='graph.']")].map((n) => Number(n.dataset.value));
      const heights = [...document.querySelectorAll("#graph [data-arrow]")].map((path) => {
        const all = path.getAttribute("d").split(/[MLZ]/).filter(Boolean).map((p) => Number(p.split(" ")[1]));
        return all[6] - all[0];  // of the shaft
      });
      told.push([numbers, heights, Number(document.querySelector("#graph [data-key='graph.total']").dataset.value)]);
    }
    return told;
    """
    for numbers, heights, total in visit(page(RECORDED), script):
        assert total == pytest.approx(RESULT["bpd"], abs=1e-9)
        assert sum(numbers) == pytest.approx(total, abs=1e-9)
        assert len(numbers) == len(heights) == mapping.GROUPS + 2
        widest = max(numbers)
        for value, height in zip(numbers, heights):
            assert height == pytest.approx(max(1.2, 44 * value / widest), abs=0.21)


def test_the_page_tells_in_which_order_the_bands_drown(visit: Visit) -> None:
    script = """
    const order = () => [document.querySelector("#drowning p b").textContent,
      [...document.querySelectorAll("[data-key^='drowned.']")].map((n) => Number(n.dataset.value)),
      [...document.querySelectorAll("[data-key^='power.']")].map((n) => Number(n.dataset.value)),
      document.querySelector("#drowning > p:not(.lead)").textContent];
    const raw = order();
    [...document.querySelectorAll("#drowning label")].find((one) => one.textContent === "about the mean picture").querySelector("input").click();
    const cost = window.difflab.charts["chart-band-costs"].chart.series.length;
    return [raw, order(), cost, document.querySelectorAll("#walk img").length, document.querySelectorAll("#walk [data-key^='left.']").length];
    """
    raw, about_mean, cost, images, left = visit(page(RECORDED), script)
    for (order, at, power, text), prefix in ((raw, ""), (about_mean, "centred_")):
        t = ARRAYS[f"{prefix}drowned_t"]
        assert at == pytest.approx(t.tolist(), rel=1e-5)
        assert power == pytest.approx(ARRAYS[f"{prefix}power"].tolist(), rel=1e-5)
        by_time = sorted(range(8), key=lambda k: t[k])
        assert [int(k) for k in re.split(", | ≈ ", order)] == by_time
        power, se = ARRAYS[f"{prefix}power"], ARRAYS[f"{prefix}power_se"]
        close = np.abs(power[:, None] - power) < 2 * np.hypot(se[:, None], se)
        assert order.count(" ≈ ") == sum(close[a, b] for a, b in pairwise(by_time))
        swaps = [(a, b) for i, a in enumerate(by_time) for b in by_time[i + 1 :] if b > a and not close[a, b]]
        told = re.findall(r"(\d) before (\d(?: and \d)*)", text.partition("Half")[0])
        assert [(int(a), int(b)) for a, others in told for b in others.split(" and ")] == swaps
        assert swaps or prefix  # the mean digit stands out in band 2
    assert cost == 8
    levels = len(ARRAYS["t"])
    assert images == 3 * levels + 2
    assert left == levels + 1


def test_a_chain_that_ends_in_pure_noise_is_drawn(visit: Visit, recorded: Path) -> None:
    arrays = ARRAYS | {"log_snr": ARRAYS["log_snr"].copy(), "chain_log_snr": ARRAYS["chain_log_snr"].copy()}
    arrays["log_snr"][-1] = arrays["chain_log_snr"][-1] = -np.inf
    record.save(recorded / "mapping" / f"{STEM}.npz", arrays, ABOUT)
    script = """
    const x = window.difflab.charts["chart-band-costs"].chart.series[0].points.map((p) => p.x);
    [...document.querySelectorAll("#drowning label")].find((one) => one.textContent === "100").querySelector("input").click();
    const [signal, noise] = window.difflab.charts["chart-spectrum"].chart.series.map((one) => one.points.map((p) => p.y));
    return [x, signal, noise, document.querySelector("#walk table").textContent];
    """
    x, signal, noise, text = visit(page(recorded), script)
    assert (np.diff(x) < 0).all()
    assert min(x) >= arrays["chain_log_snr"][-2]
    assert signal == []  # no power is left that a logarithmic axis could show
    assert noise == [1] * 8
    assert "−∞" in text


def points(recorded: Path, dims: int = 2) -> Path:
    """The run, with a record as vectors leave it: 20 points, three levels."""
    rng = np.random.default_rng(0)
    clouds = {name: rng.normal(size=(4, 20, dims)).astype(np.float32) for name in ("forward", "reverse")}
    arrays = {
        **clouds, "x0_hat": clouds["reverse"][1:], "t": np.array([1, 50, 100]), "log_snr": np.array([7.0, 0.0, -np.inf]),
        "path_t": np.array([0, 1, 50, 100]), "forward_path": clouds["forward"][:, :5], "reverse_path": clouds["reverse"][:, :5],
    }  # fmt: skip
    about = ABOUT | {"shape": [dims], "sampler": {"name": "ddim", "eta": 0.0}}
    record.save(recorded / "mapping" / f"{STEM}.npz", arrays, about)
    return recorded


@pytest.mark.parametrize("dims", [1, 2])
def test_points_are_clouds_and_trajectories(visit: Visit, recorded: Path, dims: int) -> None:
    script = """
    const dots = [...document.querySelectorAll("#walk .cloud path")].map((path) => path.getAttribute("d").split("M").length - 1);
    const lines = () => ["forward", "reverse"].map((n) => window.difflab.charts[`chart-paths-${n}`].chart.lines.map((line) => line.map((p) => p[0])));
    const before = lines();
    [...document.querySelectorAll("#walk label")].find((one) => one.textContent === "in the plane").querySelector("input").click();
    return [dots, before, lines(), document.getElementById("drowning").textContent, document.getElementById("walk").textContent];
    """
    run = points(recorded, dims)
    kept, _ = record.load(run / "mapping" / f"{STEM}.npz")
    dots, over_t, plane, drowning, walk = visit(page(run), script)
    assert dots == [20] * (4 + 4 + 3)
    assert np.array(over_t).tolist() == [[[0, 1, 50, 100]] * 5] * 2
    np.testing.assert_allclose(plane[0], kept["forward_path"][:, :, 0].T, atol=6e-4)
    np.testing.assert_allclose(plane[1], kept["reverse_path"][:, :, 0].T, atol=6e-4)
    assert "Spectra are defined for pictures only." in drowning
    assert "ddim, η = 0" in walk
    assert ("spread vertically" in walk) == (dims == 1)


@pytest.mark.parametrize("cloud", [False, True])
def test_on_a_phone_nothing_sticks_out(visit: Visit, recorded: Path, cloud: bool) -> None:
    script = """
    const root = document.documentElement;
    const graph = document.querySelector("#chart-graph svg").getBoundingClientRect();
    const out = [...document.querySelectorAll("#chart-graph text, #chart-graph path")].filter((n) => {
      const at = n.getBoundingClientRect();
      return at.right > graph.right + 1 || at.left < graph.left - 1 || at.bottom > graph.bottom + 1 || at.top < graph.top - 1;
    });
    const labels = [...document.querySelectorAll("#chart-graph text.title")].map((n) => n.getBoundingClientRect());
    const over = labels.filter((a, i) => labels.some((b, k) => k > i && a.right > b.left && b.right > a.left && a.bottom > b.top && b.bottom > a.top));
    return [root.scrollWidth, root.clientWidth, out.map((n) => n.textContent), labels.length, over.length];
    """
    scroll, client, out, labels, over = visit(page(points(recorded) if cloud else recorded), script, width=360)
    assert scroll <= client <= 360
    assert out == []
    assert (labels, over) == (mapping.GROUPS + 2, 0)  # none stands on another


def test_runs_without_a_record_name_the_command(visit: Visit, recorded: Path) -> None:
    (recorded / "mapping" / f"{STEM}.npz").unlink()
    text = visit(page(recorded), "return ['walk', 'drowning'].map((id) => document.getElementById(id).textContent)")
    assert all(f"task=mapping run={recorded}" in section for section in text)


def test_the_pictures_are_inside_the_page() -> None:
    text = page(RECORDED)
    assert not re.search(r"src=\"(?!data:)", text)
    assert text.count("data:image/png;base64,") == 5 + 3 * len(ARRAYS["t"]) + 2
