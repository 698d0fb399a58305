"""What a page says is what stands in the run's files; what cannot be read is a sentence."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from difflab.cli import main
from difflab.errors import ConfigError
from difflab.figure.canvas import DECODER, MEAN, PRIOR, TOTAL, VARIANCE
from difflab.figure.pooling import log_edges
from difflab.report import curves
from difflab.report.collect import collect
from difflab.report.detail import Detail
from difflab.report.numbers import short, spread
from difflab.report.page import HERE, embedded, render
from difflab.task import report as task
from tests.report.conftest import RECORDED, STEM, page, worse

RESULT = json.loads((RECORDED / "result.json").read_text())


def one(run: Path) -> dict:
    (only,) = collect([run], {run: "a run"})["runs"]
    return only


def table(name: str) -> list[dict[str, str]]:
    with open(RECORDED / "bound" / f"{STEM}{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_curve_adds_up_to_the_result() -> None:
    run = one(RECORDED)
    curve = run["curve"]
    assert run["notes"] == []
    assert sum(curve["value"]) == pytest.approx(RESULT["transition_kl"], rel=1e-5)
    assert sum(curve["mean_error"]) + sum(curve["variance_mismatch"]) == pytest.approx(
        RESULT["transition_kl"], rel=1e-5
    )
    assert curve["decoder_nll"] == pytest.approx([RESULT["decoder_nll"], RESULT["decoder_nll_se"]])
    running = run["running"]
    whole = RESULT["transition_kl"] + RESULT["decoder_nll"]
    assert running["t"][0] == 1
    assert running["t"][-1] == RESULT["T"]
    assert running["value"][0] == pytest.approx(RESULT["decoder_nll"], rel=1e-5)
    assert running["value"][-1] == pytest.approx(whole, rel=1e-5)
    assert running["se"][-1] == pytest.approx(RESULT["bpd_se"], rel=1e-4)  # L_T has next to none


def test_both_layouts_of_the_terms_give_the_sums_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    n, T, knots = 5, 12, np.array([1, 2, 5, 12])
    nats = rng.exponential(size=(n, T + 1)).astype(np.float32)
    dense = {"index": np.arange(n), "nats": nats, "dims": np.array(4)}
    brute = np.stack([nats[:, 1 : k + 1].astype(float).sum(1) for k in knots], axis=1)
    np.testing.assert_allclose(curves.upto(dense, knots), brute, rtol=1e-6)
    example, t = (x.ravel() for x in np.meshgrid(np.arange(n), np.arange(1, T + 1), indexing="ij"))
    twice = {
        "index": np.arange(n), "example": np.tile(example, 2), "t": np.tile(t, 2), "draw": np.repeat([0, 1], n * T),
        "weight": np.full(2 * n * T, 0.5), "nats": np.concatenate([0.5 * nats[:, 1:].ravel(), 1.5 * nats[:, 1:].ravel()]), "dims": np.array(4),
    }  # fmt: skip
    np.testing.assert_allclose(curves.upto(twice, knots), brute, rtol=1e-6)


def test_the_map_over_training_holds_the_means_of_the_validations() -> None:
    heat = one(RECORDED)["heat"]
    assert heat["steps"] == [30, 60, 90, 120]
    with open(RECORDED / "bound" / "val_step_00000060.csv", newline="") as file:
        values = {int(row["t"]): float(row["bpd"]) for row in csv.DictReader(file) if row["term"] != "prior_kl"}
    for k in (0, 1, 20, len(heat["edges"]) - 2):
        inside = range(heat["edges"][k], heat["edges"][k + 1])
        assert heat["values"][1][k] == pytest.approx(np.mean([values[t] for t in inside]), rel=1e-5)
    assert heat["edges"][0] == 1
    assert heat["edges"][-1] == RESULT["T"] + 1


def test_tables_of_what_follows_are_those_of_the_files() -> None:
    run = one(RECORDED)
    for name, total in run["variances"]["totals"].items():
        assert total == pytest.approx(sum(float(row[name]) for row in table("-variances")))
        assert total == pytest.approx(RESULT["variances"][name]["bpd"], rel=1e-6)
        assert run["variances"]["running"][name][-1] == pytest.approx(total - RESULT["prior_kl"], rel=1e-5)
    assert len(run["chains"]["rows"]) == len(table("-chains"))
    for row, told in zip(table("-chains"), run["chains"]["rows"]):
        assert told["claimed"] == (pytest.approx(float(row["bpd"])) if row["bpd"] else None)
        assert told["evaluated"] == (pytest.approx(float(row["evaluated"])) if row["evaluated"] else None)
    rates = {int(row["t"]): row for row in table("-rate_distortion")}
    tenths = run["rate_distortion"]["tenths"]
    assert tenths["t"] == [91, 81, 71, 61, 51, 41, 31, 21, 11, 1]
    for t, rate, se, distortion in zip(*(tenths[name] for name in ("t", "rate", "rate_se", "distortion"))):
        assert [rate, se, distortion] == pytest.approx(
            [float(rates[t][k]) for k in ("rate", "rate_se", "distortion")], rel=1e-5
        )
    assert sum(run["bands"]["sums"]) == pytest.approx(RESULT["mean_error"], rel=1e-5)
    assert run["bands"]["edges"][0] == 2


def test_differences_are_paired_over_examples(tmp_path: Path) -> None:
    other = worse(RECORDED, tmp_path / "other")
    runs = collect([other, RECORDED], {other: "other", RECORDED: "best"})["runs"]
    assert [run["name"] for run in runs] == ["best", "other"]
    difference = runs[1]["difference"]
    assert difference["mean"] == pytest.approx(0.05 / math.log(2))
    each = np.where(np.arange(40) % 2, 0.1, 0.0) / math.log(2)
    assert difference["se"] == pytest.approx(each.std(ddof=1) / math.sqrt(40))
    assert difference["significant"]
    assert difference["low"] == pytest.approx(difference["mean"] - 2.0227 * difference["se"], rel=1e-4)  # t, 39 df
    (other / "result.json").write_text((other / "result.json").read_text().replace(RESULT["split_sha256"], "0"))
    told = collect([other, RECORDED], {other: "other", RECORDED: "best"})["runs"][1]
    assert told["difference"] == {"why": "measured on other data"}


def test_runs_in_two_units_are_refused(recorded: Path) -> None:
    text = (recorded / "result.json").read_text().replace('"bpd', '"nats_per_dim')
    (recorded / "result.json").write_text(text)
    with pytest.raises(ConfigError, match=r"measured in .* and .*make a report of each"):
        collect([RECORDED, recorded], {RECORDED: "a", recorded: "b"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (f"bound/{STEM}.csv", "t,term\n1"), (f"bound/{STEM}.npz", "PK\x03\x04 torn"), (f"bound/{STEM}-chains.csv", "steps,chain\n2"),
        (f"bound/{STEM}-bands.csv", ""), (f"bound/{STEM}-variances.csv", "t,term,own\n1,decoder_nll,0.1,7\n"), ("result.json", '{"unit": "bpd"'),
        (f"bound/{STEM}-rate_distortion.csv", "nothing\n1\n"), (".hydra/config.yaml", "a: [1"), ("bound/val_step_00000060.csv", "t\n"),
        ("bound/step_00000120-stratified.json", "[]]"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_told_in_a_sentence_and_the_rest_is_shown(recorded: Path, name: str, content: str) -> None:
    (recorded / name).write_text(content)
    run = one(recorded)
    assert any(note.startswith(f"{name} cannot be read (") for note in run["notes"])
    assert run["training"]["val"]
    assert "\n" not in "".join(run["notes"])
    assert render(collect([recorded], {recorded: "a run"}))


def test_damaged_rows_of_the_log_are_left_out(recorded: Path) -> None:
    path = recorded / "metrics.jsonl"
    whole = one(recorded)["training"]
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(
        b"\n".join([lines[0], b'{"step": 3, "train', b"\xff\xfe", b'"text"', b'{"train/bpd": 1}', *lines[1:]])
    )
    run = one(recorded)
    assert run["training"] == whole
    assert run["notes"] == ["metrics.jsonl has 4 damaged lines, left out."]


def test_a_run_without_a_measurement_says_what_makes_one(recorded: Path) -> None:
    shutil.rmtree(recorded / "bound")
    (recorded / "result.json").unlink()
    run = one(recorded)
    assert run["result"] is None
    assert run["heat"] is None
    assert run["notes"] == [f"no measurement of the bound; task=evaluate run={recorded} makes one from a checkpoint."]
    assert "None of these runs" in page(recorded)


def test_a_later_evaluation_brings_what_the_run_lacks(recorded: Path) -> None:
    bound = recorded / "bound"
    for kind in ("chains", "bands"):
        (bound / f"{STEM}-{kind}.csv").rename(bound / f"{STEM}-stratified-{kind}.csv")
    (bound / f"{STEM}-stratified.json").write_text(json.dumps(RESULT | {"bpd": 3.5}))
    (bound / "step_00000120-fit.json").write_text('{"weights": "0"}')  # another record, no measurement
    run = one(recorded)
    assert run["measurement"] == STEM
    assert run["chains"]["measurement"] == run["bands"]["measurement"] == f"{STEM}-stratified"
    assert run["variances"]["measurement"] == STEM
    assert [m["stem"] for m in run["measurements"]] == [STEM, f"{STEM}-stratified"]
    assert run["notes"] == []
    (recorded / "result.json").unlink()
    assert one(recorded)["result"]["bpd"] == 3.5


def test_pictures_keep_to_their_budget(recorded: Path) -> None:
    big = recorded / "samples" / "final.png"
    big.write_bytes(big.read_bytes() + bytes(Detail.picture_bytes))
    run = one(recorded)
    assert [picture["step"] for picture in run["samples"]] == [30, 60, 90, 120]
    assert run["notes"] == [f"1 picture is left out to keep this page small; see {recorded / 'samples'}."]
    assert len(page(recorded)) < 1_000_000


def test_numbers_are_short_and_few() -> None:
    assert short([1 / 3, math.nan, math.inf, None, 7.0, np.float32(0.5), "x"]) == [
        0.333333,
        None,
        None,
        None,
        7,
        0.5,
        None,
    ]
    assert spread(range(1000), 5) == [0, 250, 500, 749, 999]
    assert spread([1, 2], 5) == [1, 2]
    for T in (1, 2, 3, 10, 1000, 4000):
        edges = log_edges(T)
        assert edges[0] == 1
        assert edges[-1] == T + 1
        assert (np.diff(edges) > 0).all()


def test_the_palette_is_the_figures_own() -> None:
    style = (HERE / "page.css").read_text()
    assert all(f"light-dark({colour}," in style for colour in (TOTAL, MEAN, VARIANCE, DECODER, PRIOR))


def test_the_page_asks_nothing_of_the_network() -> None:
    text = page(RECORDED)
    assert set(re.findall(r"\w+://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"<link|@import|@font-face|src=\"(?!data:)|\bfetch\(|XMLHttpRequest|\bimport\(", text)
    assert "default-src 'none'" in text


def test_data_cannot_leave_its_element() -> None:
    text = embedded({"</script><script>alert(1)": "<!-- & \u2028"})
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == {"</script><script>alert(1)": "<!-- & \u2028"}


def test_the_command_writes_one_page(tmp_path: Path, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["task=report", f"runs={tmp_path}", f"hydra.run.dir={tmp_path / 'out'}"]) == 0
    )  # recorded/ is its one job
    path = tmp_path / "out" / "report.html"
    assert str(path) in capsys.readouterr().out
    assert f'"bpd":{RESULT["bpd"]!r}' in path.read_text()
    assert main(["task=report", f"runs={tmp_path / 'none'}", f"hydra.run.dir={tmp_path / 'out2'}"]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert not (tmp_path / "out2").exists()


def test_a_run_given_twice_is_shown_once(recorded: Path, tmp_path: Path) -> None:
    config = {"runs": [str(recorded), f"{recorded}/../recorded"], "task": {"mapping": True}}
    task.run(config, tmp_path)
    assert '"difference"' in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.html").read_text().count('"overrides"') == 1
