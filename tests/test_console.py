"""Tables, trees and bars, read as a person would."""

import io
import math

import pytest

from difflab import console
from difflab.console import Progress, bound_table, config_tree, duration, effort_lines, variance_lines
from difflab.gaussian import BITS, NATS

TOTALS = {
    "bpd": 1.8828, "bpd_se": 0.0103, "prior_kl": 0.0003, "prior_kl_se": 0.00001, "transition_kl": 1.5,
    "transition_kl_se": 0.009, "mean_error": 1.2, "mean_error_se": 0.008, "variance_mismatch": 0.3,
    "variance_mismatch_se": 0.002, "decoder_nll": 0.3825, "decoder_nll_se": 0.004,
    "bpd_optimal_variance": 1.87, "examples": 360, "nfe": 360000,
}  # fmt: skip
FLOORS = {"uniform": 4.09, "Gaussian": 2.96, "per-pixel histogram": 2.43}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (9.94, "9.9 s"), (9.97, "10 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"), (3900, "1 h 05 min"), (86399, "1 d 00 h"), (183600, "2 d 03 h"),
        (math.nan, "?"), (math.inf, "?"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_table_holds_every_term_with_its_error():
    text = bound_table(TOTALS, FLOORS, BITS)
    for key in ("prior_kl", "transition_kl", "mean_error", "variance_mismatch", "decoder_nll", "bpd"):
        se = "1.0e-05" if key == "prior_kl" else f"{TOTALS[key + '_se']:.4f}"
        assert any(f"{TOTALS[key]:.4f}" in line and f"± {se}" in line for line in text.splitlines()), key
    assert "360 examples, 360,000 network evaluations" in text
    assert "bits/dim" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_floors_are_sorted_and_the_best_is_marked():
    lines = bound_table(TOTALS, FLOORS, BITS).split("sanity floors (bits/dim)\n")[1].splitlines()
    assert [line.split("  ")[5] for line in lines] == ["per-pixel histogram", "Gaussian", "uniform"]
    assert lines[0].endswith("<- best floor: the bound is 0.5472 ± 0.0103 below")
    assert not any("<-" in line for line in lines[1:])


def test_a_bound_above_the_floor_is_said_so():
    assert "the bound is 0.5700 above" in bound_table({"bpd": 3.0, "bpd_se": math.nan}, FLOORS, BITS)


def test_entropy_is_no_floor_to_beat():
    text = bound_table({"nats_per_dim": 1.45, "nats_per_dim_se": 0.01}, {"entropy": 1.42, "Gaussian": 1.6}, NATS)
    assert "no model is below this: the bound is 0.0300 ± 0.0100 above" in text
    assert "best floor: the bound is 0.1500 ± 0.0100 below" in text


def test_a_table_without_floors():
    assert "floors" not in bound_table(TOTALS, {}, BITS)


def test_the_tree_shows_every_value_and_the_chosen_variants():
    tree = config_tree(
        {
            "seed": 0,
            "schedule": {"name": "cosine", "T": 1000, "s": 1e-3},
            "bound": {"method": "exhaustive", "clip_x0": False},
            "tracker": {"kind": "wandb", "name": None, "tags": ["a", 1], "mode": True},
            "resume": None,
            "ones": [1, True],
        }
    )
    rows = [line.split(None, 1) for line in tree.splitlines()]
    assert rows == [
        ["seed", "0"], ["schedule", "cosine"], ["T", "1000"], ["s", "0.001"], ["bound", "exhaustive"],
        ["clip_x0", "false"], ["tracker", "wandb"], ["name", "null"], ["tags", "[a, 1]"], ["mode", "true"],
        ["resume", "null"], ["ones", "[1, true]"],
    ]  # fmt: skip
    assert "    T" in tree and config_tree({}) == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


def test_plain_lines_every_few_seconds(monkeypatch):
    clock, out = Clock(monkeypatch), io.StringIO()
    with Progress("training", unit="step", total=100, every=10, stream=out) as bar:
        for step in range(1, 101):
            clock.now += 0.5
            bar.note({"loss": 1 / step})
            bar.update(step)
    lines = out.getvalue().splitlines()
    assert lines[0] == "training  20/100 step (20%)  2.0 step/s  40 s left  loss 0.05"
    assert len(lines) == 6 and lines[-1] == "training  100/100 step (100%)  2.0 step/s  50 s  loss 0.01"
    assert "\r" not in out.getvalue() and "\x1b" not in out.getvalue()


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "90")
    clock, out = Clock(monkeypatch), Terminal()
    with Progress("evaluating", unit="nfe", stream=out) as bar:
        for done in (10, 20):
            clock.now += 1
            bar.update(done, 20)
        bar.line("a word")
    text = out.getvalue()
    assert "[##########..........]  10/20 nfe (50%)  10.0 nfe/s" in text
    assert text.endswith("\n") and text.count("\n") == 2 and "\r\x1b[Ka word\n" in text
    assert all(len(part.removesuffix("\x1b[K")) < 90 for part in text.replace("\n", "\r").split("\r"))


def test_a_resumed_bar_counts_old_work_as_done_but_not_as_speed(monkeypatch):
    clock, out = Clock(monkeypatch), io.StringIO()
    with Progress("training", total=1000, stream=out) as bar:
        bar.start_at(900)
        clock.now += 10
        bar.update(910)
        assert bar.rate == pytest.approx(1.0) and bar.seconds_left == pytest.approx(90)
        clock.now += 10
        bar.update(911)
        assert bar.rate < 1 and "s/step" in out.getvalue()


def test_a_transient_bar_leaves_nothing(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    clock, out = Clock(monkeypatch), Terminal()
    with Progress("validating", total=2, transient=True, stream=out) as bar:
        clock.now += 1
        bar.update(1)
    assert out.getvalue().endswith("\r\x1b[K") and "\n" not in out.getvalue()
    plain = io.StringIO()
    with Progress("validating", total=2, transient=True, stream=plain) as bar:
        bar.update(2)
    assert plain.getvalue() == ""


def test_a_broken_stream_does_not_stop_the_work():
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Progress("training", total=1, stream=Broken()) as bar:
        bar.update(1)
        bar.line("still here")
    closed = io.StringIO()
    closed.close()
    with Progress("training", total=1, stream=closed) as bar:
        bar.update(1)


def test_an_error_inside_passes_through_and_the_line_is_ended():
    out = io.StringIO()
    with pytest.raises(RuntimeError), Progress("training", total=5, stream=out) as bar:  # noqa: PT012
        bar.update(2)
        raise RuntimeError
    assert out.getvalue().endswith("\n")


def test_the_effort_of_a_standard_error_is_that_of_a_mean() -> None:
    totals = {"bpd_se": 0.02, "nfe": 1000, "examples": 1000}
    assert effort_lines(totals, BITS).endswith("0.01 takes 4,000, 0.005 takes 16,000")
    few = effort_lines({**totals, "split_examples": 5000}, BITS)
    assert few.endswith("0.01 takes 4,000, 0.005 takes 16,000 (more examples than the split's 5,000)")
    assert effort_lines({**totals, "bpd_se": math.nan}, BITS) == ""
    assert effort_lines({**totals, "bpd_se": 0.0}, BITS) == ""
    split = effort_lines({**totals, "nfe": 100_000, "bpd_se_noise": 0.001}, BITS).splitlines()
    assert split[1] == "each example's own bound is known to ± 0.0316, by 100 evaluations"


def test_variances_are_listed_best_first() -> None:
    lines = variance_lines(
        {"own": {"bpd": 2.0, "bpd_se": 0.1}, "optimal": {"bpd": 1.5, "bpd_se": math.nan}, "fixed_beta": {"bpd": None}},
        BITS,
    ).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["optimal,", "its"]
    assert "±" not in lines[2]
    assert "± 0.1000" in lines[3]
