"""Files of sweeps/: what they may say, and which jobs follow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from difflab.errors import ConfigError
from difflab.sweep.plan import suffix
from difflab.sweep.question import Question, load, names

Ask = Callable[[str], Question]
GRID = """
question: Which?
base: [trainer.steps=7]
grid:
  - {schedule: [linear, cosine], parameterization: [eps, v]}
  - {schedule: linear, parameterization: [v, x0]}
seeds: [0, 1]
"""


def test_grids_add_up_and_a_cell_counts_once(ask: Ask, planned) -> None:
    jobs = planned(ask(GRID)).jobs
    assert [job.name for job in jobs if job.name.endswith("seed0")] == [
        "linear-eps-seed0", "linear-v-seed0", "cosine-eps-seed0", "cosine-v-seed0", "linear-x0-seed0",
    ]  # fmt: skip
    assert len(jobs) == 10
    assert jobs[0].overrides == ["trainer.steps=7", "resume=auto", "schedule=linear", "parameterization=eps", "seed=0"]
    assert jobs[5].cell == {"schedule": "linear", "parameterization": "eps", "seed": "1"}


def test_a_typed_key_of_the_grid_chooses_among_its_cells(ask: Ask, planned) -> None:
    jobs = planned(ask(GRID), "schedule=linear", "parameterization=v,x0", "seed=3").jobs
    assert [job.name for job in jobs] == ["linear-v-seed3", "linear-x0-seed3"]
    with pytest.raises(
        ConfigError, match=r"parameterization=mu is no value of sweep=asked, which asks about eps, v, x0;"
    ):
        planned(ask(GRID), "parameterization=mu")
    with pytest.raises(ConfigError, match="no cell has schedule=cosine parameterization=x0"):
        planned(ask(GRID), "schedule=cosine", "parameterization=x0")


def test_any_other_typed_key_is_for_every_job_or_one_more_factor(ask: Ask, planned) -> None:
    jobs = planned(ask(GRID), "trainer.steps=9", "seed=0").jobs
    assert len(jobs) == 5
    assert all("trainer.steps=9" in job.overrides and "trainer.steps=7" not in job.overrides for job in jobs)
    jobs = planned(ask(GRID), "optimizer.lr=0.1,0.2", "schedule=cosine", "seed=0").jobs
    assert [job.name for job in jobs] == [
        "cosine-eps-lr0.1-seed0",
        "cosine-eps-lr0.2-seed0",
        "cosine-v-lr0.1-seed0",
        "cosine-v-lr0.2-seed0",
    ]


def test_other_values_are_another_sweep_and_the_same_command_is_the_same(ask: Ask, composing) -> None:
    question = ask(GRID)

    def name(*typed: str) -> str:
        return suffix(question, composing.parse(list(typed)))

    assert name() == name("parameterization=v", "seed=7", "tracker=none", "hydra/launcher=basic") == ""
    assert name("trainer.steps=9", "data=digits") == name("data=digits", "trainer.steps=9") != ""
    assert name("trainer.steps=9") != name("trainer.steps=8")
    assert name("tracker.mode=offline", "data.num_workers=2", "checkpoint.every=50") == ""  # what no result depends on


def test_cells_that_are_not_defined_are_told_before_anything_runs(ask: Ask, planned) -> None:
    plan = planned(ask("question: Q?\ngrid: {objective: [simple, hybrid], variance: [fixed_beta, learned_range]}\n"))
    assert [refused.cell for refused in plan.refused] == [{"objective": "simple", "variance": "learned_range"}]
    assert "no gradient" in plan.refused[0].message
    with pytest.raises(ConfigError, match="no cell of it is defined: objective=simple"):
        planned(ask("question: Q?\ngrid: {objective: simple, variance: learned_range}\n"))


def test_seeds_are_looked_at_before_anything_runs(ask: Ask, planned) -> None:
    with pytest.raises(ConfigError, match="seed=x must be a whole number"):
        planned(ask(GRID), "seed=x")
    assert len(planned(ask(GRID), "seed=1,1", "schedule=cosine").jobs) == 2


def test_runs_of_its_own_are_not_taken_elsewhere(ask: Ask, planned) -> None:
    for line in ("resume=somewhere", "runs=somewhere"):
        with pytest.raises(ConfigError, match=f"{line}: sweep=asked has runs of its own"):
            planned(ask(GRID), line)


def test_a_wrong_value_ends_it_before_anything_runs(ask: Ask, planned) -> None:
    with pytest.raises(ConfigError, match="did you mean schedule=cosine"):
        planned(ask("question: Q?\ngrid: {schedule: [linear, cosin]}\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("question: Q?\n", "give either grid"),
        ("question: Q?\ngrid: {a: 1}\nsearch: {b: [1]}\n", "give either grid"),
        ("grid: {seed: 1}\n", "question is missing"),
        ("question: Q?\ngird: {seed: 1}\n", "there is no key gird"),
        ("question: Q?\ngrid: [1]\n", "a grid is a mapping"),
        ("question: Q?\ngrid: {seed: 1}\nseeds: [x]\n", "seeds holds x"),
        ("question: Q?\nsearch: {optimizer.lr: 3}\ntrials: 2\n", "must be a list of values or"),
        ("question: Q?\nsearch: {optimizer.lr: {low: 1e-3, high: 1}}\ntrials: 2\n", "holds what is no number"),
        ("question: Q?\nsearch: {optimizer.lr: {low: 2, high: 1}}\ntrials: 2\n", "low must be below high"),
        ("question: Q?\nsearch: {optimizer.lr: [1]}\n", "trials="),
        ("question: Q?\nsearch: {optimizer.lr: [1]}\ntrials: 2\nseeds: [0]\n", "a search has no seeds"),
        ("question: Q?\ngrid: {seed: 1}\ntables: [{title: T}]\n", "needs one of rows, chains and claims"),
        (
            "question: Q?\ngrid: {seed: 1}\ntables: [{title: T, rows: [model]}]\n",
            "asks for model, which the grid does not vary",
        ),
        ("question: Q?\ngrid: {seed: 1}\ntables: [{title: T, claims: [{says: x}]}]\n", "a claim has"),
        (
            "question: Q?\ngrid: {seed: 1}\ntables: [{title: T, rows: [seed], columns: [seed]}]\n",
            "columns of the table T",
        ),
        ("question: Q?\ngrid: {seed: 1}\ntables: [{title: T, rows: [seed], values: 3}]\n", "values of the table T"),
        ("question: Q?\ngrid: {seed: 1}\ntables: [{title: T, chains: [x]}]\n", "takes whole numbers"),
        (
            "question: Q?\ngrid: {seed: 1}\ntables: [{title: T, rows: [seed], where: {seed: 2}}]\n",
            "asks for seed=2, and the grid has 1",
        ),
        (
            "question: Q?\nbase: ['hydra.searchpath=[pkg://evil]']\ngrid: {seed: 1}\n",
            "hydra.searchpath is not for a file to say",
        ),
        ("question: Q?\nbase: ['+hydra.job.env_set.PATH=evil']\ngrid: {seed: 1}\n", "is not for a file to say"),
        ("question: Q?\ngrid: {hydra.searchpath: [['pkg://evil']]}\n", "is not for a file to say"),
        ("question: Q?\ngrid: {plugins: [[evil]]}\n", "plugins is not for a file to say"),
        ("question: Q?\nsearch: {hydra.job.env_set.PATH: [evil]}\ntrials: 1\n", "is not for a file to say"),
        ("- 1\n", "holds no mapping"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(ask: Ask, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ask(text)


def test_an_unknown_question_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"did you mean sweep=ddpm_table_2\?\), or give a YAML file\."):
        load("ddpm_table")
    assert "which_choice_buys_bits" in names()
