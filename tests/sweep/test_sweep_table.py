"""Tables and verdicts of made-up runs whose truth is known."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from difflab import tables
from difflab.card.blocks import Text
from difflab.cli import _compare
from difflab.commandline import Plan as Line
from difflab.errors import ConfigError
from difflab.sweep import record
from difflab.sweep.answers import Answer, Answers
from difflab.sweep.claims import Verdict, compared, places
from difflab.sweep.plan import Plan, Refused, Spec, Twin
from difflab.sweep.table import answered, write
from tests.compare.made_up import save

T, N, DIMS = 100, 400, 4


def run(directory: Path, seed: int, bound: float, scatter: float, rng: np.random.Generator, **variances: float) -> None:
    """A finished run whose terms are `bound` bits/dim in t = 2..T on average, a common part of each example besides."""
    common = np.random.default_rng(0).normal(size=(N, 1)) * 0.5
    nats = np.full((N, T + 1), bound * DIMS * math.log(2) / (T - 1)) + (common + scatter * rng.normal(size=(N, 1))) / T
    nats[:, :2] = 0.0
    (directory / ".hydra").mkdir(parents=True)
    save(directory / "bound" / "step_00000007", nats.astype(np.float32).astype(float), seed=seed, variances={
        name: {"bpd": value, "bpd_se": 0.01, "prior_kl": 0.0, "transition_kl": value, "decoder_nll": 0.0} for name, value in variances.items()
    }, T=T)  # fmt: skip
    (directory / "bound" / "step_00000007.json").rename(directory / "result.json")
    columns = {"t": np.arange(1, T + 1), "own": np.r_[0.0, np.full(T - 1, bound / (T - 1))]}
    tables.save(
        directory / "bound" / "step_00000007-variances.csv", columns | dict.fromkeys(variances, columns["own"] * 2)
    )


def cell(**keys: str) -> dict[str, str]:
    return dict(keys)


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[Path, Plan]:
    rng = np.random.default_rng(3)
    jobs = []
    for objective, bound in (("vlb", 2.0), ("simple", 2.1)):
        for seed in (0, 1, 2):
            name = f"{objective}-seed{seed}"
            run(
                tmp_path / name,
                seed,
                bound + 0.01 * (seed - 1),
                0.1,
                rng,
                **({"fixed_beta_tilde": 2.5 + 0.02 * seed} if objective == "simple" else {}),
            )
            jobs.append(
                Spec(name, [f"objective={objective}"], cell(objective=objective, variance="fixed_beta", seed=str(seed)))
            )
    jobs.append(Spec("late-seed0", [], cell(objective="late", variance="fixed_beta", seed="0")))
    twins = [
        Twin(cell(objective="simple", variance="fixed_beta_tilde", seed=str(s)), f"simple-seed{s}", "fixed_beta_tilde")
        for s in (0, 1, 2)
    ]
    refused = [Refused(cell(objective="simple", variance="learned_range"), "no gradient")]
    claims = [
        {
            "says": "the bound is better",
            "better": {"objective": "vlb"},
            "worse": {"objective": "simple"},
            "where": {"variance": "fixed_beta"},
        },
        {
            "says": "the other way",
            "better": {"objective": "simple"},
            "worse": {"objective": "vlb"},
            "where": {"variance": "fixed_beta"},
        },
        {"says": "beta beats tilde", "better": {"variance": "fixed_beta"}, "worse": {"variance": "fixed_beta_tilde"}},
    ]
    asked = [
        {"title": "bits", "rows": ["objective"], "columns": "variance"},
        {"title": "parts", "rows": ["objective", "variance"], "values": ["bpd", "t>T/10"]},
        {"title": "claims", "claims": claims},
    ]
    plan = Plan("made_up", "Which?", "nothing", jobs, twins, refused, asked)
    record.save(tmp_path, plan)
    return tmp_path, plan


def test_a_table_shows_mean_error_and_spread_and_why_a_cell_is_empty(sweep: tuple[Path, Plan]) -> None:
    text = write(sweep[0])
    rows = {
        line.split(" | ")[0].strip("| "): line
        for line in text.split("## parts")[0].splitlines()
        if line.startswith("| ")
    }
    mean, se, spread = re.search(r"([\d.]+) ± ([\d.]+) \(([\d.]+), 3\)", rows["vlb"]).groups()
    assert float(mean) == pytest.approx(2.0, abs=0.01)
    assert float(se) == pytest.approx(0.51 / math.sqrt(N) / DIMS / math.log(2), rel=0.1)
    assert float(spread) == pytest.approx(0.01, abs=0.003)
    assert "2.5200 ± 0.0100 (0.0200, 3)" in text  # priced with the other variance
    assert "not defined" in text and "not defined: objective=simple variance=learned_range: no gradient" in text
    assert "waiting" in rows["late"] and "The sweep is not at its end: 6 done, 1 waiting." in text
    assert len(tables.load(sweep[0] / "table_1.csv")["objective"]) == 3
    parts = text.split("## parts")[1].split("## claims")[
        0
    ]  # in the grid's order, twins in their places, no row of nothing
    rows = [line.split(" | ")[:2] for line in parts.splitlines() if line.startswith("| ")][2:]  # head and rule
    names = [(a.strip("| "), b) for a, b in rows]
    assert names == [
        ("vlb", "fixed_beta"),
        ("simple", "fixed_beta"),
        ("simple", "fixed_beta_tilde"),
        ("late", "fixed_beta"),
    ]


def test_a_page_knows_which_columns_are_names(sweep: tuple[Path, Plan]) -> None:
    found = answered(sweep[0])
    assert [(drawn.title, drawn.names) for drawn in found.tables] == [("bits", 1), ("parts", 2), ("claims", 3)]
    assert list(found.files) == ["table_1", "table_2", "table_3"] and len(found.files["table_3"]["verdict"]) == 3
    texts = [block.text for block in found.blocks if isinstance(block, Text)]
    assert any("does not shrink with seeds" in text for text in texts)
    assert (
        not any("no gradient" in text for text in texts) and "no gradient" in found.lost[0]
    )  # a page has its own place


def test_a_table_of_nothing_is_told_and_leaves_no_earlier_file(sweep: tuple[Path, Plan]) -> None:
    write(sweep[0])
    for job in sweep[1].jobs:
        (sweep[0] / job.name / "result.json").unlink(missing_ok=True)
    assert "Nothing is finished yet." in write(sweep[0]).split("## claims")[1]
    assert (sweep[0] / "table_1.csv").exists() and not (sweep[0] / "table_3.csv").exists()


def test_the_bands_of_t_add_up_and_follow_the_variance(sweep: tuple[Path, Plan]) -> None:
    answers = Answers(*sweep)
    own, tilde = cell(objective="simple", variance="fixed_beta"), cell(objective="simple", variance="fixed_beta_tilde")
    (first, *_) = answers.of(own)
    bands = [first.value(band)[0] for band in ("t<=T/100", "T/100<t<=T/10", "t>T/10")]
    assert sum(bands) == pytest.approx(2.09)
    assert bands[1] == pytest.approx(2.09 * 9 / 99)
    assert answers.of(tilde)[0].value("t>T/10")[0] == pytest.approx(2 * bands[2])
    assert answers.of(tilde)[0].value("L_mid")[0] == 2.5


def test_a_figure_may_lie_within_another(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(
        json.dumps({"unit": "bpd", "bpd": 2.5, "floors": {"per-pixel histogram": 4.5}})
    )
    answer = Answer(tmp_path, None)
    assert answer.value("floors.per-pixel histogram")[0] == 4.5 and answer.value("bpd")[0] == 2.5
    assert math.isnan(answer.value("floors.Gaussian")[0]) and math.isnan(answer.value("clipped.bpd")[0])


def test_claims_are_borne_out_contradicted_or_undecided(sweep: tuple[Path, Plan]) -> None:
    text = write(sweep[0])
    lines = [line for line in text.splitlines() if line.startswith("| the ") or line.startswith("| beta")]
    assert [line.split(" | ")[2].strip() for line in lines] == ["borne out", "contradicted", "borne out"]
    assert "t>T/10" in lines[0]
    answers = Answers(*sweep)
    verdict = compared(
        cell(objective="simple", variance="fixed_beta"), cell(objective="vlb", variance="fixed_beta"), answers
    )
    assert verdict is not None
    assert verdict.difference == pytest.approx(0.1, abs=0.003)
    assert verdict.evaluation < 0.01  # paired: the common part is gone
    assert verdict.between == pytest.approx(2.776 * math.sqrt(2 * 0.01**2 / 3), rel=0.2)
    unpaired = compared(
        cell(objective="simple", variance="fixed_beta_tilde"), cell(objective="vlb", variance="fixed_beta"), answers
    )
    assert unpaired is not None and unpaired.evaluation > 0.015


def test_a_difference_lies_in_the_space_too_and_in_continuous_time_has_no_bands(sweep: tuple[Path, Plan]) -> None:
    simple, vlb = cell(objective="simple", variance="fixed_beta"), cell(objective="vlb", variance="fixed_beta")

    def changed(name: str, **figures: object) -> None:
        path = sweep[0] / name / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | figures))

    assert places(simple, vlb, Answers(*sweep)) == "t>T/10 +0.0909"
    for seed in (0, 1, 2):
        changed(f"simple-seed{seed}", bpd=2.5)
    assert places(simple, vlb, Answers(*sweep)).startswith("the space +0.4")
    for seed in (0, 1, 2):
        changed(f"simple-seed{seed}", T=None, bpd=2.1, transition_kl=2.1)
        changed(f"vlb-seed{seed}", T=None, bpd=1.9, transition_kl=1.9)
    assert places(simple, vlb, Answers(*sweep)) == "L_mid +0.2000"


def test_a_verdict_needs_both_intervals() -> None:
    for bound in (math.nan, math.inf):
        assert Verdict(bound, math.nan, 0.05, (1, 1)).word == "no verdict: a bound is not finite"
    assert Verdict(0.1, 0.2, 0.01, (3, 3)).word == Verdict(0.1, 0.01, 0.2, (3, 3)).word == "undecided"
    assert Verdict(0.1, math.nan, math.nan, (1, 1)).word == "undecided"
    assert Verdict(0.1, math.nan, 0.05, (1, 1)).word == "borne out"
    assert Verdict(-0.1, 0.05, 0.05, (3, 3)).word == "contradicted"


def test_a_factor_that_was_typed_has_rows_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    jobs = []
    for steps, bound in ((200, 2.0), (400, 1.5)):
        run(tmp_path / f"steps{steps}", 0, bound, 0.1, rng)
        jobs.append(Spec(f"steps{steps}", [], {"objective": "vlb", "trainer.steps": str(steps)}))
    jobs.append(Spec("steps800", [], {"objective": "vlb", "trainer.steps": "800"}))
    record.save(tmp_path, Plan("q", "Q?", "", jobs, tables=[{"title": "T", "rows": ["objective"]}]))
    rows = [line for line in write(tmp_path).splitlines() if line.startswith("| vlb")]
    assert [row.split(" | ")[1] for row in rows] == ["200", "400", "800"]
    assert "waiting" in rows[2]


def test_one_training_priced_twice_is_paired_over_seeds(sweep: tuple[Path, Plan]) -> None:
    own, tilde = cell(objective="simple", variance="fixed_beta"), cell(objective="simple", variance="fixed_beta_tilde")
    verdict = compared(tilde, own, Answers(*sweep))
    assert verdict is not None and not verdict.paired  # the examples of another variance are not kept
    differences = np.array([2.5 + 0.02 * s for s in (0, 1, 2)]) - [
        json.loads((sweep[0] / f"simple-seed{s}" / "result.json").read_text())["bpd"] for s in (0, 1, 2)
    ]
    assert verdict.between == pytest.approx(4.303 * differences.std(ddof=1) / math.sqrt(3), rel=1e-3)


def test_short_chains_count_L_0_once(tmp_path: Path) -> None:
    columns = {"t": np.arange(1, 11), "own": np.full(10, 0.25)}
    tables.save(tmp_path / "bound" / "step_00000007-variances.csv", columns)
    (tmp_path / "result.json").write_text(json.dumps({"unit": "bpd", "step": 7, "T": 10}))
    assert sum(Answer(tmp_path, None).value(band)[0] for band in ("t<=T/100", "T/100<t<=T/10", "t>T/10")) == 9 * 0.25


def test_chains_are_averaged_over_seeds(sweep: tuple[Path, Plan]) -> None:
    directory, plan = sweep
    for seed in (0, 1, 2):
        columns = {
            "steps": np.array([10, 100]),
            "chain": np.array(["even", "even"]),
            "variance": np.array(["optimal", "optimal"]),
        }
        tables.save(
            directory / f"vlb-seed{seed}" / "bound" / "step_00000007-chains.csv",
            columns | {"bpd": np.array([4.0 + seed, 3.0]), "bpd_se": np.array([0.5, 0.25])},
        )
    table = {"title": "chains", "chains": [10, 100, 1000], "where": {"objective": "vlb"}}
    record.save(directory, Plan(plan.name, plan.question, plan.cost, plan.jobs, plan.twins, plan.refused, [table]))
    assert "| even | optimal | 5.0000 ± 0.5000 (1.0000, 3) | 3.0000 ± 0.2500 (0.0000, 3) |  |" in write(directory)


def test_a_damaged_result_is_named(sweep: tuple[Path, Plan]) -> None:
    path = sweep[0] / "vlb-seed0" / "result.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match="result.json cannot be read"):
        Answer(path.parent, None).value("bpd")


def test_a_sweep_record_round_trips_and_another_call_adds_to_it(tmp_path: Path) -> None:
    plan = Plan(
        "q",
        "Q?",
        "c",
        [Spec("a", ["x=1"], cell(x="1"))],
        [Twin(cell(x="2"), "a", None)],
        [Refused(cell(x="3"), "why")],
        [],
        {},
        0,
    )
    record.save(tmp_path, plan)
    assert record.load(tmp_path) == plan
    record.save(tmp_path, Plan("q", "Q?", "c", [Spec("b", ["x=4"], cell(x="4"))]))
    assert [job.name for job in record.load(tmp_path).jobs] == ["b", "a"]
    assert record.load(tmp_path).refused == plan.refused
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": 3}))
    with pytest.raises(ConfigError, match="it cannot be read"):
        record.load(tmp_path)
    with pytest.raises(ConfigError, match="there is none"):
        record.load(tmp_path / "nowhere")


def test_a_question_of_several_data_sets_is_answered_though_its_runs_do_not_compare(
    sweep: tuple[Path, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, plan = sweep
    for job in plan.jobs[:6]:
        path = directory / job.name / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data": job.cell["objective"]}))
        (directory / job.name / ".hydra" / "config.yaml").write_text("data: {name: digits}")
    for asked, code in ((plan, True), (None, False)):
        assert _compare(Line([], True, (), directory, "hydra.sweep.dir", "train", asked), False, False) is code
        out, err = capsys.readouterr()
        assert "are not comparable: they were trained on other data" in err and "Traceback" not in err
        assert ("borne out" in out) is code
