"""What is compared with what: refusals in one sentence, measurements that fit, and what has to be evaluated."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from difflab.compare.comparable import check_comparable
from difflab.compare.measurement import read_own
from difflab.compare.names import directories, distinguishing, labels
from difflab.compare.sources import Sources, as_they_are, design, differs, measured_alike, usual
from difflab.compare.terms import terms
from difflab.errors import ConfigError
from tests.compare.made_up import DESIGN, MakeRun, save

NATS = np.random.default_rng(0).gamma(2.0, size=(5, 4))
WANTED = DESIGN | {"precision": "fp32"}
Evaluated = list[tuple[str, dict[str, Any]]]


def alike(
    *runs: Path, default: Mapping[str, Any] | None = None, typed: Collection[str] = ()
) -> tuple[Sources, Evaluated, list[str]]:
    """(what is compared, what was evaluated for it, what the user was told)."""
    evaluated: Evaluated = []
    said: list[str] = []

    def evaluate(directory: Path, bound: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]]:
        evaluated.append((directory.name, dict(bound)))
        stem = directory / "bound" / f"step_00000007-{bound['method']}"
        node = {key: value for key, value in bound.items() if key != "precision"}
        rest = {"clip_x0": bound["clip_x0"], "bound_seed": bound["seed"], "precision": bound["precision"]}
        save(stem, NATS + 1, bound=node, **rest)
        return stem, json.loads(stem.with_suffix(".json").read_text())

    sources = measured_alike([(run, run.name) for run in runs], default or WANTED, evaluate, said.append, typed)
    return sources, evaluated, said


def with_checkpoint(run: Path) -> Path:
    manifest = run / "checkpoints" / "step_00000007" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    return run


REFUSED = [
    ({"unit": "nats_per_dim", "nats_per_dim": 1.0}, {}, "a probability in bits/dim and a density in nats/dim"),
    ({"levels": 256}, {}, "17 and 256 levels"),
    ({"split": "val"}, {}, "on the test and on the val split"),
    ({"split_sha256": "6" * 64}, {}, "other examples, the held-out data differs (555555555555 and 666666666666)"),
    ({}, {"data": {"name": "mnist"}}, "other data, digits and mnist"),
]


@pytest.mark.parametrize(("result", "config", "says"), REFUSED, ids=lambda x: str(x)[:20])
def test_what_is_not_comparable_is_refused_in_one_sentence(
    result: dict[str, Any], config: dict[str, Any], says: str, make_run: MakeRun
) -> None:
    a = make_run("a", NATS)
    b = with_checkpoint(make_run("b", NATS, config=config, **result))
    if result.get("unit"):
        unit = json.loads((b / "result.json").read_text())
        (b / "result.json").write_text(json.dumps(unit | {"nats_per_dim": float(NATS.sum(1).mean() / 4)}))
    for compare in (lambda: alike(a, b), lambda: as_they_are([(a, "a"), (b, "b")])):
        with pytest.raises(ConfigError) as caught:
            compare()
        text = str(caught.value)
        assert says in text and f"runs {a} and {b} are not comparable: " in text
        assert text.endswith(".") and "\n" not in text


def test_two_decoders_that_score_the_same_grey_levels_are_compared(make_run: MakeRun) -> None:
    runs = [
        make_run("a", NATS),
        make_run("b", NATS, decoder="categorical", config={"decoder": {"name": "categorical"}}),
    ]
    assert len(as_they_are([(run, run.name) for run in runs]).measured) == 2
    assert alike(*(with_checkpoint(run) for run in runs))[1:] == ([], [])


def test_a_clipped_mean_is_another_model_that_a_sweep_does_not_hide(make_run: MakeRun) -> None:
    runs = [make_run("a", NATS), make_run("b", NATS, clip_x0=True, bound={**DESIGN, "clip_x0": True})]
    with pytest.raises(ConfigError, match="bound.clip_x0=false and bound.clip_x0=true are two models"):
        as_they_are([(run, run.name) for run in runs])
    sources, evaluated, said = alike(runs[0], with_checkpoint(runs[1]))
    assert evaluated == [("b", WANTED)]
    assert "bound.clip_x0=true and not false, so it is evaluated" in said[0]
    assert [m.stem.name for m in sources.measured] == ["step_00000007", "step_00000007-stratified"]


def test_bounds_measured_in_two_precisions_are_made_alike_and_a_sweep_says_how(make_run: MakeRun) -> None:
    runs = [make_run("a", NATS, precision="fp32"), make_run("b", NATS, precision="bf16"), make_run("c", NATS)]
    as_they_are([(run, run.name) for run in runs[::2]])  # an older result knows of fp32 only, and does not say
    for two in (runs[:2], runs[1:]):
        with pytest.raises(ConfigError, match=r"evaluated in (fp32|bf16) and in (bf16|fp32).*task=compare runs="):
            as_they_are([(run, run.name) for run in two])
    for run in runs:
        with_checkpoint(run)
    _sources, evaluated, said = alike(*runs)
    assert evaluated == [("b", WANTED)]
    assert "precision.evaluate=bf16 and not fp32, so it is evaluated" in said[0]
    assert "precision.evaluate=fp32" in said[0].partition("so it is")[2]
    assert alike(*runs)[1:] == ([], [])  # what was evaluated before fits
    rough = WANTED | {"precision": "bf16"}
    assert alike(*runs, default=rough, typed=("precision",))[1] == [("a", rough), ("c", rough)]
    assert {m.result["precision"] for m in alike(*runs, default=rough, typed=("precision",))[0].measured} == {"bf16"}
    other = WANTED | {"times": 9, "precision": "bf16"}  # the precision is not what was asked for
    assert alike(*runs, default=other, typed=("bound",))[1] == [(name, other | {"precision": "fp32"}) for name in "abc"]


def test_older_results_are_judged_by_what_they_know() -> None:
    runs = [(Path("a"), {"unit": "u", "levels": 17}), (Path("b"), {"unit": "u"}), (Path("c"), {"levels": 256})]
    check_comparable(runs[:2])
    with pytest.raises(ConfigError, match="runs a and c are"):
        check_comparable(runs)


def test_what_was_measured_alike_is_not_evaluated(make_run: MakeRun) -> None:
    more = {**DESIGN, "examples": None, "batch_size": 3}
    sources, evaluated, said = alike(make_run("a", NATS), make_run("b", NATS, bound=more), make_run("c", NATS))
    assert (evaluated, said, sources.failed, sources.notes) == ([], [], {}, [])
    assert [m.name for m in sources.measured] == ["a", "b", "c"]


def test_a_run_without_a_result_is_evaluated_once_and_said(make_run: MakeRun) -> None:
    a, b = make_run("a", NATS), with_checkpoint(make_run("b", NATS, config={"seed": 3}))
    (b / "result.json").unlink()
    sources, evaluated, said = alike(a, b)
    assert evaluated == [("b", WANTED)]
    assert said == [
        "b: it has no result, so it is evaluated with bound.method=stratified bound.examples=5 bound.draws=1 bound.times=2 "
        "bound.exact_steps=2 bound.last_steps=0 bound.clip_x0=false bound.seed=0 precision.evaluate=fp32"
    ]
    assert sources.measured[1].result["seed"] == 3
    assert sources.notes == ["b: it has no result; bound/step_00000007-stratified.json stands here"]
    assert alike(a, b)[1:] == ([], [])  # what was evaluated before fits


def test_a_measurement_older_than_a_key_did_what_was_done_then() -> None:
    older = {key: value for key, value in DESIGN.items() if key != "last_steps"}
    made = design({"bound": older}, Path())
    assert differs(made, DESIGN | {"precision": "fp32"}) is None
    assert "bound.last_steps=0 and not 1" in differs(made, DESIGN | {"precision": "fp32", "last_steps": 1})
    assert "last_steps" not in design({"bound": {"method": "exhaustive"}}, Path())


def test_missing_terms_are_evaluated_and_damaged_ones_refused(make_run: MakeRun) -> None:
    a, b = make_run("a", NATS), with_checkpoint(make_run("b", NATS))
    (b / "bound" / "step_00000007.npz").unlink()
    assert alike(a, b)[1] == [("b", WANTED)]
    (a / "bound" / "step_00000007.npz").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="make it whole with resume="):
        alike(a, b)


def test_no_damage_to_the_terms_ends_in_another_error(make_run: MakeRun) -> None:
    """A bit of a zip file may make a member seem encrypted, compressed by unknown means, or larger than memory: 11 kinds
    of exceptions in all."""
    run = make_run("a", np.random.default_rng(0).gamma(2.0, size=(8, 5)))
    file, choose = run / "bound" / "step_00000007.npz", random.Random(0)
    whole, refused = file.read_bytes(), 0
    for number in range(600):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[choose.randrange(len(data)) :]
        else:
            place, length = choose.randrange(len(data)), 8 * (number % 3 - 1) + 1
            data[place : place + length] = bytes(
                byte ^ 1 << choose.randrange(8) for byte in data[place : place + length]
            )
        file.write_bytes(data)
        try:
            with terms(read_own(run)) as read:
                read.table(np.arange(3))
        except ConfigError:
            refused += 1
    assert refused > 300


def test_the_most_frequent_design_wins_and_the_first_of_two(make_run: MakeRun) -> None:
    other = {**DESIGN, "times": 9}
    runs = [with_checkpoint(make_run(n, NATS, bound=b)) for n, b in (("a", DESIGN), ("b", other), ("c", other))]
    sources, evaluated, said = alike(*runs)
    assert evaluated == [("a", WANTED | other)] and "bound.times=2 and not 9" in said[0]
    assert [m.bound > m_own.bound for m, m_own in zip(sources.measured, map(read_own, runs))] == [True, False, False]
    assert alike(*runs[:2])[1] == [("b", WANTED)]


def test_a_measurement_of_other_weights_or_another_design_does_not_fit(make_run: MakeRun) -> None:
    a, b = make_run("a", NATS), with_checkpoint(make_run("b", NATS, bound={**DESIGN, "seed": 5}))
    save(b / "bound" / "step_00000006-stratified", NATS, bound=DESIGN)  # other weights
    save(b / "bound" / "step_00000007-other", NATS, bound={**DESIGN, "draws": 2})
    (b / "bound" / "step_00000007-fit.json").write_text("[1]")  # no measurement
    (b / "bound" / "step_00000007-half.json").write_text("{")
    assert alike(a, b)[1] == [("b", WANTED)]


def test_without_any_result_the_jobs_own_design_counts(make_run: MakeRun) -> None:
    run = with_checkpoint(make_run("a", NATS))
    (run / "result.json").unlink()
    asked = {**WANTED, "times": 4}
    assert alike(run, default=asked)[1] == [("a", asked)]


def test_what_cannot_be_evaluated_is_listed_with_the_reason(make_run: MakeRun) -> None:
    a, b = make_run("a", NATS), make_run("b", NATS)
    (b / "result.json").unlink()
    sources, evaluated, said = alike(a, b)
    assert (evaluated, said) == ([], [])
    assert sources.failed["b"].startswith("it has no result, and ") and "holds no checkpoint" in sources.failed["b"]
    assert as_they_are([(a, "a"), (b, "b")]).failed == {"b": "it has no result"}


def test_a_result_that_contradicts_its_terms_is_refused(make_run: MakeRun) -> None:
    a = make_run("a", NATS)
    result = json.loads((a / "result.json").read_text())
    (a / "result.json").write_text(json.dumps(result | {"bpd": result["bpd"] + 1e-3}))
    for compare in (lambda: alike(a), lambda: as_they_are([(a, "a")])):
        with pytest.raises(ConfigError, match="add up to"):
            compare()


def test_designs() -> None:
    assert usual([{}, {}]) is None
    assert differs({}, DESIGN) is None  # not known
    assert differs({**DESIGN, "examples": 6}, DESIGN) is None
    assert differs({**DESIGN, "examples": 4}, DESIGN) == "it was measured with bound.examples=4 and not 5"
    assert differs(DESIGN, {**DESIGN, "examples": None}) == "it was measured with bound.examples=5 and not null"


def test_runs_are_called_by_what_sets_them_apart(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(name, NATS, config={"seed": seed}) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert list(labels(runs).values()) == ["name=a seed=0", "name=b seed=0", "name=c seed=1"]
    assert list(distinguishing(runs, without=("seed",)).values()) == ["name=a", "name=b", "name=c"]
    for run in runs:
        (run / ".hydra" / "overrides.yaml").write_text("- x=1\n")
    assert list(labels(runs).values()) == ["a", "b", "c"]
    twin = make_run("deep/a", NATS)
    (twin / ".hydra" / "overrides.yaml").write_text("- x=1\n")
    assert labels([runs[0], twin]) == {runs[0]: str(runs[0]), twin: str(twin)}
    assert directories(str(tmp_path)) == runs
    assert directories([str(runs[1]), str(runs[0])]) == [runs[1], runs[0]]
    with pytest.raises(ConfigError, match="holds no run"):
        directories([str(tmp_path / "nothing")])
    with pytest.raises(ConfigError, match="needs runs="):
        directories(None)
