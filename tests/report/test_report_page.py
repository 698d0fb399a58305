"""The page in a real browser: what it shows is what the files hold, it can be handled, and no name in it does anything."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import RECORDED, STEM, Visit, page, worse

RESULT = json.loads((RECORDED / "result.json").read_text())
NUMBERS = "[...document.querySelectorAll('[data-key]')].map((n) => [n.dataset.run ?? '0', n.dataset.key, Number(n.dataset.value), Number(n.dataset.se), n.textContent])"
HOVER = """
const hover = (id, px, py = 100) => {
  const root = window.difflab.charts[id].querySelector("svg"), at = root.getBoundingClientRect();
  root.dispatchEvent(new PointerEvent("pointermove", { clientX: at.left + px, clientY: at.top + py, bubbles: true }));
  return window.difflab.charts[id].querySelector(".tip");
};
const points = (id, n = 0) => window.difflab.charts[id].chart.series[n].points;
const control = (id, text) => [...document.querySelectorAll(`#${id} label`)].find((one) => one.textContent === text).querySelector("input");
"""


def table(name: str) -> list[dict[str, str]]:
    with open(RECORDED / "bound" / name, newline="") as file:
        return list(csv.DictReader(file))


LEDGER = {int(row["t"]): row for row in table(f"{STEM}.csv") if row["term"] == "transition_kl"}


def long_name(tmp_path: Path) -> tuple[Path, Path, dict[Path, str]]:
    """Two runs, one of them called what a big sweep would call it."""
    other = worse(RECORDED, tmp_path / "other")
    return RECORDED, other, {RECORDED: "x" * 200, other: " ".join(f"group{i}.key={i}" for i in range(30))}


def test_the_numbers_are_the_results(visit: Visit) -> None:
    shown = {key: (value, se, text) for _, key, value, se, text in visit(page(RECORDED), "return " + NUMBERS)}
    for key in (
        "bpd",
        "prior_kl",
        "transition_kl",
        "decoder_nll",
        "mean_error",
        "variance_mismatch",
        "bpd_optimal_variance",
    ):
        value, se, _ = shown[key]
        assert value == RESULT[key]
        if key != "bpd":  # the headline's error stands beside it
            assert se == RESULT[f"{key}_se"]
    assert shown["bpd"][2] == f"{RESULT['bpd']:.4f}"
    assert shown["nfe"][0] == RESULT["nfe"]
    assert shown["T"][0] == 100
    assert shown["examples"][2] == "40"
    assert shown["clipped.bpd"][0] == RESULT["clipped"]["bpd"]
    for name, totals in RESULT["variances"].items():
        assert shown[f"variance.{name}"][0] == pytest.approx(totals["bpd"], rel=1e-6)
        assert shown[f"variance.{name}"][1] == totals["bpd_se"]
    rates = {row["t"]: float(row["rate"]) for row in table(f"{STEM}-rate_distortion.csv")}
    for t in (91, 51, 1):
        assert shown[f"rate.{t}"][0] == pytest.approx(rates[str(t)], rel=1e-5)
    bands = table(f"{STEM}-bands.csv")
    for k in (0, 7):
        assert shown[f"band.{k}"][0] == pytest.approx(sum(float(row[f"band_{k}"]) for row in bands), rel=1e-5)


def test_the_curves_are_the_ledgers_rows(visit: Visit) -> None:
    script = HOVER + "return [0, 1, 2].map((n) => points('chart-per-t', n).map((p) => [p.x, p.y, p.se]))"
    value, mean, mismatch = visit(page(RECORDED), script)
    assert [t for t, *_ in value] == list(LEDGER)
    for (t, y, se), (_, m, _), (_, v, _) in zip(value, mean, mismatch):
        row = LEDGER[t]
        wanted = [float(row[k]) for k in ("bpd", "bpd_se", "mean_error_bpd", "variance_mismatch_bpd")]
        assert [y, se, m, v] == pytest.approx(wanted, rel=1e-5)


def test_chains_show_claims_and_evaluations(visit: Visit) -> None:
    script = "return window.difflab.charts['chart-chains'].chart.series.map((s) => [s.name, s.bare ?? false, s.points.map((p) => [p.x, p.y, p.se])])"
    series = {(name, bare): points for name, bare, points in visit(page(RECORDED), script)}
    rows = table(f"{STEM}-chains.csv")
    for row in rows:
        name = f"{row['variance']}, {row['chain']} chain"
        claims = {k: [y, se] for k, y, se in series.get((name, False), [])}
        found = {k: [y, se] for k, y, se in series.get((f"{name}, evaluated", True), [])}
        if row["bpd"]:
            assert claims[int(row["steps"])] == pytest.approx([float(row["bpd"]), float(row["bpd_se"])])
        if row["evaluated"]:
            assert found[int(row["steps"])] == pytest.approx([float(row["evaluated"]), float(row["evaluated_se"])])
    assert any(bare and points for (_, bare), points in series.items())


def test_hovering_and_arrow_keys_read_values(visit: Visit) -> None:
    script = (
        HOVER
        + """
    const root = window.difflab.charts["chart-per-t"].querySelector("svg");
    const path = root.querySelector("[data-series] path").getAttribute("d").split(/[ML ]/).filter(Boolean).map(Number);
    const hovered = hover("chart-per-t", path[2 * 8]).textContent;  // the ninth point: t = 10
    root.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    const next = root.parentNode.querySelector(".tip").textContent;
    root.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    return [hovered, next, root.parentNode.querySelector(".tip").hidden];
    """
    )
    hovered, following, hidden = visit(page(RECORDED), script)
    for text, t in ((hovered, 10), (following, 11)):
        row = LEDGER[t]
        middle = (float(row["log_snr_s"]) + float(row["log_snr_t"])) / 2
        assert f"t = {t}, log SNR {middle:.2f}, 40 draws" in text
        assert f"Lₜ₋₁: {float(row['bpd']):.4f} ± {float(row['bpd_se']):.4f}" in text
    assert hidden


def test_a_click_in_the_map_shows_that_steps_curve(visit: Visit) -> None:
    script = (
        HOVER
        + """
    const cell = document.querySelector("#chart-heat .cell[data-column='1'][data-row='0']");
    const told = (cell.dispatchEvent(new PointerEvent("pointermove", { bubbles: true })), document.querySelector("#chart-heat .tip").textContent);
    cell.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    return [document.getElementById("chart-heat-step").dataset.step, points("chart-heat-step").map((p) => [p.x, p.y]), told, Number(cell.dataset.value)];
    """
    )
    step, points, told, value = visit(page(RECORDED), script)
    rows = {int(row["t"]): float(row["bpd"]) for row in table("val_step_00000060.csv") if row["term"] != "prior_kl"}
    assert step == "60"
    assert value == pytest.approx(rows[1], rel=1e-5)
    assert told == f"step 60, t = 1{value:.4f} bits/dim of one step"
    for t, y in points[:12]:  # bins of a single t
        assert y == pytest.approx(rows[t], rel=1e-5)


def test_controls_change_axes_parts_and_runs(visit: Visit, tmp_path: Path) -> None:
    script = (
        HOVER
        + """
    const count = () => window.difflab.charts["chart-per-t"].chart.series.length;
    const before = count();
    control("per-t", "mean error").click();
    const parts = count();
    control("per-t", "log SNR").click();
    const log_snr = points("chart-per-t").slice(0, 2).map((p) => p.x);
    control("per-t", "log y").click();
    const zero = [...document.querySelectorAll("#chart-per-t text")].some((t) => t.textContent === "0");
    control("per-t", "± se").click();
    const bare = points("chart-per-t").every((p) => p.se === null);
    document.querySelectorAll("#runs input")[1].click();
    return { before, parts, log_snr, zero, bare, after: count(), chosen: document.getElementById("chosen").textContent };
    """
    )
    other = worse(RECORDED, tmp_path / "other")
    told = visit(page(RECORDED, other), script)
    middle = [(float(LEDGER[t]["log_snr_s"]) + float(LEDGER[t]["log_snr_t"])) / 2 for t in (2, 3)]
    assert told["log_snr"] == pytest.approx(middle, rel=1e-4)
    assert (told["before"], told["parts"], told["after"]) == (2, 4, 2)
    assert told["zero"]
    assert told["bare"]
    assert told["chosen"] == "Runs (1 of 2)"


def test_several_runs_are_ranked_with_paired_differences(visit: Visit, tmp_path: Path) -> None:
    other = worse(RECORDED, tmp_path / "other")
    shown = visit(page(other, RECORDED), "return " + NUMBERS)
    bounds = {run: value for run, key, value, *_ in shown if key == "bpd"}
    assert bounds == {"0": RESULT["bpd"], "1": json.loads((other / "result.json").read_text())["bpd"]}
    (difference,) = [row for row in shown if row[1] == "difference"]
    assert difference[2] == pytest.approx(0.05 / 0.6931471805599453)
    assert difference[4].startswith("+0.0721 [0.")
    assert difference[4].endswith("] *")


def test_light_and_dark(visit: Visit) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light, dark, name = visit(
        page(RECORDED),
        f"const a = {ground}; document.getElementById('theme').click(); return [a, {ground}, document.getElementById('theme').textContent]",
    )
    assert light == "rgb(255, 255, 255)"
    assert dark == "rgb(20, 23, 26)"
    assert name == "Light"
    assert visit(page(RECORDED), f"return {ground}", flags=("--blink-settings=preferredColorScheme=0",)) == dark


@pytest.mark.parametrize("width", [360, 768])
def test_no_width_makes_the_page_scroll_sideways(visit: Visit, tmp_path: Path, width: int) -> None:
    a, b, names = long_name(tmp_path)
    script = """
    for (const box of document.querySelectorAll("details")) box.open = true;
    for (const box of document.querySelectorAll(".bar details")) box.open = false;
    const root = document.documentElement;
    return [innerWidth, root.scrollWidth, root.clientWidth, document.querySelector("#chart-per-t svg").clientWidth];
    """
    inner, scroll, client, chart = visit(page(a, b, names=names), script, width=width)
    assert inner == width
    assert scroll <= client <= width
    assert client - 60 < chart <= client


HOSTILE = '</script><script>document.documentElement.dataset.owned=1</script><img src=x onerror="document.documentElement.dataset.owned=2">\'{{data}}'


def test_what_comes_from_a_run_does_nothing(visit: Visit, recorded: Path) -> None:
    (recorded / ".hydra" / "overrides.yaml").write_text(json.dumps([HOSTILE]))
    (recorded / ".hydra" / "config.yaml").write_text(json.dumps({HOSTILE: HOSTILE, "data": {"name": HOSTILE}}))
    (recorded / "environment.txt").write_text(HOSTILE)
    result = RESULT | {"split": HOSTILE, "floors": {HOSTILE: 1.0}, "target": HOSTILE, "bound": {"method": HOSTILE}}
    (recorded / "result.json").write_text(json.dumps(result))
    chains = (recorded / "bound" / f"{STEM}-chains.csv").read_text().splitlines()
    chains.append('3,even,"' + HOSTILE.replace('"', '""') + '",3.5,,,,,,1 2')
    (recorded / "bound" / f"{STEM}-chains.csv").write_text("\n".join(chains) + "\n")
    text = page(recorded, names={recorded: HOSTILE})
    assert text.count("<script") == 2  # the data and the page's own
    assert HOSTILE not in text
    script = (
        HOVER
        + """
    for (const box of document.querySelectorAll("details")) box.open = true;
    hover("chart-chains", 120);
    return [document.documentElement.dataset.owned ?? null, document.querySelectorAll("#samples img").length, document.querySelector("h1").textContent, document.title];
    """
    )
    owned, images, heading, title = visit(text, script)
    assert owned is None
    assert images == 5  # the samples
    assert heading == HOSTILE
    assert title == f"difflab: {HOSTILE}"


def test_the_policy_lets_the_pages_own_script_run_and_no_other(visit: Visit) -> None:
    assert visit(page(RECORDED), "return 1") == 1
    assert (
        visit(page(RECORDED), "return 1", guarded=True) is None
    )  # refused; `visit` has seen that the page itself came to its end


def test_what_a_run_lacks_names_the_command(visit: Visit, recorded: Path) -> None:
    for kind in ("variances", "chains", "rate_distortion", "bands"):
        (recorded / "bound" / f"{STEM}-{kind}.csv").unlink()
    for path in [*recorded.glob("bound/val_*"), *recorded.glob("samples/*")]:
        path.unlink()
    script = "return Object.fromEntries([...document.querySelectorAll('section')].map((s) => [s.id, s.textContent]))"
    sections: dict[str, Any] = visit(page(recorded), script)
    for name in ("variances", "chains", "rate", "bands"):
        assert f"python -m difflab task=evaluate run={recorded}" in sections[name]
    assert "trainer.val_every" in sections["heat"]
    assert f"task=sample run={recorded}" in sections["samples"]


def test_runs_of_every_state_share_a_page(visit: Visit, recorded: Path, tmp_path: Path) -> None:
    """One whole, one measured but bare, one damaged, one that has only begun."""
    bare, damaged, begun = (Path(shutil.copytree(recorded, tmp_path / name)) for name in ("bare", "damaged", "begun"))
    for path in [*bare.glob("bound/*-*"), *bare.glob("bound/val_*"), *bare.glob("*.jsonl"), *bare.glob(".hydra/*")]:
        path.unlink()
    (damaged / "bound" / f"{STEM}.csv").write_text("torn")
    (damaged / "bound" / f"{STEM}.npz").write_text("torn")
    (begun / "result.json").unlink()
    script = "for (const s of document.querySelectorAll('select[data-focus]')) for (let i = 0; i < 4; i++) { s.value = i; s.dispatchEvent(new Event('change')); } return [...document.querySelectorAll('[data-note]')].map((n) => n.textContent)"
    notes = visit(page(recorded, bare, damaged, begun), script)
    assert sum("cannot be read" in note for note in notes) == 2
    assert sum("no measurement of the bound" in note for note in notes) == 1


def test_without_scripts_the_totals_are_a_table() -> None:
    text = page(RECORDED)
    inside = text[text.index("<noscript>") : text.index("</noscript>")]
    assert f"<td>{RESULT['bpd']:.4g} ± {RESULT['bpd_se']:.2g}</td>" in inside
