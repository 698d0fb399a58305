"""From samples to what is printed: ratios round by round, the limit, what was not run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from difflab.bench import levers, scaling, summary, table
from difflab.bench.__main__ import main, parse
from difflab.bench.lineup import SAME_NETWORK, SMALL
from difflab.bench.population import shared_variance
from difflab.bench.summary import Spread, exhaustive_nfe, fastest, limit, rate, ratio, share_of_peak

PEAKS = {
    "conv_fp32": 100.0, "conv_fp32_backward": 50.0, "matmul_fp32": 10.0,
    "conv_bf16": 200.0, "conv_bf16_backward": 100.0, "matmul_bf16": 10.0, "copy_gb": 7.0,
}  # fmt: skip


def row(*speeds: float, gflop: float = 0.5, precision: str = "fp32") -> dict[str, Any]:
    return {
        "gflop": gflop, "parameters": 1, "precision": precision,
        "samples": [{"units": 2 * speed, "seconds": 2.0} for speed in speeds],
    }  # fmt: skip


def test_ratios_are_taken_round_by_round() -> None:
    """Both are slow in the second round: their ratio is not."""
    assert ratio(row(40, 4, 44), row(10, 1, 10)) == Spread(4.0, 4.0, 4.4)
    assert ratio(row(8, 4), row(1, 2)) == Spread(5.0, 2.0, 8.0)
    assert rate(row(40, 4, 44)) == Spread(40, 4, 44)


def test_the_fastest_is_chosen_among_its_kind_by_median() -> None:
    rows = {
        "a, as shipped": row(10, 10, 99),
        "b, as shipped": row(11, 11, 11),
        "c, as shipped": {"error": "not installed"},
        "b, allocator fixed": row(30, 30, 30),
    }
    assert fastest(rows, ", as shipped") == "b, as shipped"
    assert fastest(rows, ", nowhere") is None


def test_the_share_of_the_peak_counts_a_backward_pass_twice() -> None:
    assert share_of_peak(row(100, gflop=0.5), True, PEAKS) == pytest.approx(100 * 0.5 / 100)
    assert share_of_peak(row(10, gflop=0.5), False, PEAKS) == pytest.approx(10 * (0.5 / 100 + 1.0 / 50))
    assert share_of_peak(row(100, precision="bf16 compiled"), True, PEAKS) == pytest.approx(100 * 0.5 / 200)
    assert limit(row(1), True, PEAKS) == pytest.approx(200 / 0.5)


def test_the_variance_between_examples_is_free_of_the_draws() -> None:
    generator = np.random.default_rng(0)
    between, noise = generator.normal(0, 2.0, 4000), generator.normal(0, 3.0, (4000, 2))
    variance, error = shared_variance(7 + between[:, None] + noise)
    assert variance == pytest.approx(4.0, abs=3 * error)
    assert error < 0.25
    assert (between[:, None] + noise).var() > 2 * variance  # what one draw alone would have said


def test_the_loop_needs_all_t_of_as_many_examples_as_the_error_asks() -> None:
    assert exhaustive_nfe({"T": 1000, "sd": 1.0}, 0.01) == pytest.approx(1000 * 10_000)


def results() -> dict[str, Any]:
    rows = {
        "diffusers UNet2DModel, as shipped": row(10, 10, 10),
        "denoising-diffusion-pytorch, as shipped": {"error": "not installed: pip install difflab[bench]"},
        "diffusers UNet2DModel, allocator fixed": row(20, 20, 20),
        SAME_NETWORK: row(30, 30, 33, precision="bf16"),
        SMALL: row(60, 60, 66, gflop=0.25, precision="bf16"),
    }
    ours = {
        "precision": "bf16",
        "seconds": 36.0,
        "nfe": 9000,
        "pilot_nfe": 1000,
        "bpd": 3.0,
        "se": 0.0099,
        "reached": True,
    }
    return {
        "length": {"rounds": 3},
        "machine": {
            "name": "A CPU", "device": "cpu", "threads": 2, "flags": {"amx_bf16": False}, "load": 3.5,
            "versions": {"torch": "2", "diffusers": None}, "commit": "0123456789abcdef", "changed_files": 1,
        },
        "peaks": PEAKS,
        "works": [{"title": "a work", "kind": "bound", "rows": rows}],
        "idle_shares": {SMALL: 0.25},
        "population": {
            "origin": "somewhere", "shape": [1, 8, 8], "T": 1000, "target_se": 0.01, "sd": 1.0, "variance_error": 0.1,
            "probed": 9, "ours": [ours], "speed": {"rows": {key: value for key, value in rows.items() if key != SAME_NETWORK}},
        },
        "levers": {
            kind: {levers.BASE.key: row(20, 22), **{lever.other.key: row(10, 10) for lever in levers.LEVERS[:3]}}
            for kind in levers.KINDS
        },
        "scaling": {"T": [{"value": 10, "seconds": 1.0, "nfe": 10, "memory_gb": 1.0}, {"value": 20, "seconds": 3.0, "nfe": 20, "memory_gb": 1.1}]},
        "start": {"--help": [0.5, 0.7, 0.6]},
    }  # fmt: skip


def test_the_table_says_what_was_measured_and_what_was_not() -> None:
    found = json.loads(json.dumps(results()))  # all of it is JSON
    text = table.text(found)
    for said in (
        "NOT ALONE: 3.5",
        "diffusers not installed",
        "0123456789ab and 1 changed files",
        "not installed: pip install difflab[bench]",
        f"{SAME_NETWORK}: 3.00 [3.00, 3.30] times diffusers UNet2DModel, as shipped; 1.50 [1.50, 1.65] times",
        "at the machine's whole peak this network would be 40.0 times",
        "bf16 over fp32 at the peak: 2.0",
        "at most 25.0% of a core",
        "10,000 examples, 10,000,000 nfe for ± 0.01; NOT RUN",
        f"{10_000_000 / 10 / 36:,.0f} times ours in bf16",
        "27,778 times by the wall clock; 1,111 times fewer evaluations, 6.00 times as many a second in interleaved rounds: 6,667 times",
        "time/work 1.50, memory 1.10",
        "0.60 s [0.50, 0.70]",
    ):
        assert said in text
    assert text.count("2.10 [2.00, 2.20]") == 6  # three levers, two kinds of work


def test_without_peaks_or_peers_there_is_still_a_table() -> None:
    found = results()
    rows = {key: value for key, value in found["works"][0]["rows"].items() if "ours" in key}
    text = table.text(
        {key: found[key] for key in ("length", "machine")} | {"works": [{**found["works"][0], "rows": rows}]}
    )
    assert SMALL in text
    assert "target" not in text


def test_growth_is_measured_against_the_work() -> None:
    def at(value: int, seconds: float, nfe: int) -> dict[str, Any]:
        return {"value": value, "seconds": seconds, "nfe": nfe, "memory_gb": 2.0}

    assert scaling.growth("T", [at(10, 1.0, 10), at(40, 4.0, 40)]) == (1.0, 1.0)
    assert scaling.growth("size", [at(16, 1.0, 10), at(32, 4.0, 10)]) == (1.0, 1.0)
    assert all(np.isnan(scaling.growth("T", [{"value": 1, "error": "no"}])))


def test_the_figure_is_drawn_with_what_there_is(tmp_path: Any) -> None:
    sweeps = results()["scaling"] | {"N": [{"value": 1, "error": "no"}]}
    path = scaling.draw(sweeps, tmp_path / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_help_needs_no_torch() -> None:
    code = "import sys; from difflab.bench.__main__ import parse\ntry: parse(['--help'])\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "population" in done.stdout


def test_an_unknown_section_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "works,wroks"])
    assert "wroks is no section; choose from start" in capsys.readouterr().err


def test_the_figure_lies_beside_the_numbers() -> None:
    assert str(parse(["--json", "a/b.json"]).figure) == "a/b.png"
    assert parse([]).figure is None
    assert parse(["--only", "peaks,start"]).only == ("peaks", "start")


def test_rates_are_units_over_seconds() -> None:
    assert summary.rates(row(3.0, 5.0)) == [3.0, 5.0]
