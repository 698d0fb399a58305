"""Every file of sweeps/ is walked at smoke size: its first job, its tables, its line in sweeps/README.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from difflab.cli import main
from difflab.config.compose import composer
from difflab.config.schema import conf_directory, load_schema
from difflab.job import checked
from difflab.sweep import record
from difflab.sweep.plan import plan
from difflab.sweep.question import directory, load, names

SMALL = [  # a chain as long as the question asks for, and next to nothing of everything else
    "trainer.steps=2", "trainer.batch_size=4", "trainer.val_every=0", "trainer.log_every=1", "trainer.precision=fp32",
    "validation.examples=2", "bound=quick", "bound.examples=4", "fit.examples=4", "data.limit=24", "preview.steps=2", "preview.count=2",
    "sampler.steps=2", "sampler.count=2", "tracker=none", "hydra/launcher=basic",
]  # fmt: skip
NETWORK = ["model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16"]
ONE = {
    "which_choice_buys_bits": ["schedule=linear", "parameterization=eps"],
    "ddpm_table_2": [
        "parameterization=eps",
        "objective=simple,hybrid",
        "variance=fixed_beta,fixed_beta_tilde",
        "seed=0",
    ],
    "improved_ddpm_table": ["schedule=cosine", "schedule.T=100", "objective=vlb,hybrid", "seed=0"],
    "vdm_t_table": ["schedule=learned", "schedule.T=10,inf", "seed=0"],
    "timestep_samplers": ["parameterization=v", "timestep=stratified,importance", "objective=vlb", "seed=0"],
    "how_many_dimensions": ["space=pca", "space.k=8", "data=digits"],
    "flips": ["seed=0", "data=digits"],
    "grey_pictures": ["data=digits", "schedule=learned"],
}
OTHERWISE = {"learning_rate", "how_many_evaluations"}  # have tests of their own


def test_every_question_is_exercised_and_listed() -> None:
    assert {*ONE, *OTHERWISE} == set(names())
    listed = (directory() / "README.md").read_text(encoding="utf-8")
    for name in names():
        assert f"`{name}" in listed
        head = (directory() / f"{name}.yaml").read_text(encoding="utf-8")
        assert (
            head.startswith("# Question: ") and "\n# Cost: " in head and f"sweep={name}" in head.split("\nquestion:")[0]
        )
        assert load(name).cost


@pytest.mark.parametrize("name", list(ONE))
def test_a_question_from_its_first_job_to_its_tables(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = [] if name == "how_many_dimensions" else NETWORK
    typed = [
        word
        for word in [*SMALL, *network]
        if word.partition("=")[0] not in {key for cell in load(name).cells for key in cell}
    ]
    assert main([f"sweep={name}", *typed, *ONE[name], f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 0
    states = record.states(tmp_path / "sweep")
    assert states and {state.state for state in states.values()} == {"done"}
    assert (tmp_path / "sweep" / "comparison.md").exists()
    text = (tmp_path / "sweep" / "tables.md").read_text()
    assert "±" in text and "Nothing is finished" not in text.split("orderings")[0]
    assert load(name).question in (tmp_path / "sweep" / "comparison.html").read_text()


RUN = re.compile(r"^#.*python -m difflab sweep=(\w+) (.*experiment=.*)$", re.MULTILINE)
ELSEWHERE = [
    line for path in sorted(directory().glob("*.yaml")) for line in RUN.findall(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("name", "typed"), ELSEWHERE)
def test_a_question_asked_of_other_data_keeps_the_recipe_s_budget(name: str, typed: str) -> None:
    """The commands for a GPU, their first and their last job: the cell's choices, and in all else what the recipe says."""
    own = [word for word in shlex.split(typed) if word.startswith("experiment=")]
    with composer(conf_directory(), load_schema()) as composing:

        def judge(cfg: DictConfig) -> dict[str, Any]:
            return checked(cfg, cfg.hydra, ())

        recipe = judge(composing.compose(own))
        jobs = plan(load(name), composing.parse(shlex.split(typed)), composing, judge).jobs
        ends = [(job, judge(composing.compose(job.overrides))) for job in (jobs[0], jobs[-1])]
    said = re.search(
        rf"{re.escape(typed)}\n#[^)]* (\d+) trainings", (directory() / f"{name}.yaml").read_text(encoding="utf-8")
    )
    assert said and len(jobs) == int(said[1])
    for job, config in ends:
        assert config["schedule"]["name"] == job.cell.get("schedule", recipe["schedule"]["name"])
        for node in ("data", "model", "optimizer", "trainer", "augmentation"):
            assert config[node] == recipe[node]


def test_the_measurements_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = [word for word in SMALL if not word.startswith("hydra/")]
    assert main([*small, *NETWORK, "schedule.T=60", f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    line = [
        "sweep=how_many_evaluations",
        f"run={tmp_path / 'run'}",
        "tracker=none",
        "fit.examples=4",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    ]
    assert main([*line, "bound=importance"]) == 0
    assert len([*(tmp_path / "run" / "bound").glob("*importance*.json")]) >= 1
    assert main(line[:1]) == 1  # no run
