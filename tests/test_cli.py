"""The command line: what it answers, what it refuses, what it leaves behind.

Real subprocesses where the process matters (imports, exit codes, working directory); elsewhere main() in this process
with a stand-in for the training task, which leaves the files that others read.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from difflab.cli import main
from difflab.config.compose import quoted
from difflab.config.schema import load_schema
from difflab.errors import ConfigError, NotDefined

Task = Callable[[dict[str, Any], Path], dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[dict[str, Any], Path]]:
    """(config, run directory) of every job; task=train does nothing but leave a checkpoint and a result."""
    seen: list[tuple[dict[str, Any], Path]] = []

    def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        seen.append((config, run_dir))
        (run_dir / "checkpoints" / "step_00000001").mkdir(parents=True, exist_ok=True)
        return {"objective": 1.5}

    stand_in(monkeypatch, run)
    for name in ("evaluate", "sample"):
        stand_in(monkeypatch, run, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFLAB_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("DIFFLAB_PLUGINS", raising=False)
    return seen


def stand_in(monkeypatch: pytest.MonkeyPatch, run: Task, name: str = "train") -> None:
    module = types.ModuleType(f"difflab.task.{name}")
    module.__dict__["run"] = run
    monkeypatch.setitem(sys.modules, f"difflab.task.{name}", module)


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def shell(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    env.pop("HYDRA_FULL_ERROR", None)
    return subprocess.run(
        [sys.executable, "-m", "difflab", *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


# -- fast answers ---------------------------------------------------------------------------------------------------

PROBE = """
import sys
from difflab.cli import main
from difflab.config.compose import quoted
from difflab.config.schema import load_schema
code = main(sys.argv[1:])
print("IMPORTED", sorted({"torch", "timm", "wandb", "numpy", "matplotlib", "torchvision"} & set(sys.modules)), "CODE", code)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--cfg", "job"], 0),
        (["schedule.T=abc"], 1),
        (["+typo=1"], 1),
        (["schedule=cosin"], 1),
        (["objective=simple"], 1),
    ],
)
def test_answers_without_heavy_imports(arguments: list[str], code: int, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == f"IMPORTED [] CODE {code}", done.stderr
    assert len(done.stderr.splitlines()) == code
    assert files(tmp_path) == []


def test_help_names_every_group_and_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for word in (
        "schedule: cosine, learned, linear",
        "parameterization: eps, mu, v, x0",
        "task=compare",
        "resume=RUN_DIR",
        "--cfg job",
    ):
        assert word in out


def test_cfg_job_is_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "job", "schedule=linear", "trainer.steps=7"]) == 0
    config = OmegaConf.create(capsys.readouterr().out)
    assert (config.schedule.name, config.trainer.steps) == ("linear", 7)
    assert "hydra" not in config


# -- refusals: one sentence, exit code 1, nothing left ----------------------------------------------------------------

REFUSED = [
    (["schedule.T=abc"], "schedule.T=abc must be a whole number"),
    (["schedule.T="], "schedule.T is empty"),
    (["schedule.T=null"], "schedule.T needs a value"),
    (["optimizer.lr=nan"], "finite number"),
    (["trainer.grad_clip=None"], "type trainer.grad_clip=null"),
    (["+typo=1"], "no key typo"),
    (["typo=1"], "no key typo"),
    (["steps=3"], "trainer.steps"),
    (["trainer.stpes=3"], "did you mean trainer.steps?"),
    (["schedule=cosin"], "did you mean schedule=cosine?"),
    (["schedule="], "schedule= is empty; choose"),
    (["experiment=sohl_dickstein/swis_roll"], "did you mean experiment=sohl_dickstein/swiss_roll?"),
    (["experiment/sohl_dickstein=swis_roll"], "did you mean experiment=sohl_dickstein/swiss_roll?"),
    (["experiment=sohl_dickstein"], "choose cifar10/ddpm, cifar10/improved_ddpm, cifar10/vdm_like, ddpm, improved_ddpm"),
    (["schedule=null"], "choose cosine, learned, linear"),
    (["tracker=None"], "choose none or wandb"),
    (["bound@validation=foo"], "bound@validation=foo: there is no such option"),
    (["schedule@foo=linear"], "schedule@foo"),
    (["~schedule"], "schedule is missing"),
    (["+experiment=improved_ddpm"], "without +"),
    (["run=a/lr=3"], """type run="'a/lr=3'" """.strip()),
    (["a b"], "an override is key=value"),
    (["=3"], "an override is key=value"),
    (["--bogus"], "--bogus"),
    (["schedule=linear,cosine"], "add -m"),
    (["seed=${foo}"], "foo"),
    (["seed=???"], "seed"),
    (["hydra.mode=foo"], "RUN, MULTIRUN"),
    (["hydra.run.dir="], "hydra.run.dir is empty"),
    (["hydra.run.dir='a${b}'"], "b"),
    (["hydra.run.dir=/proc/nowhere"], "hydra.run.dir=/proc/nowhere cannot be used"),
    (["objective=simple"], "no gradient"),
    (["schedule.name=os.path"], "plugins=[os]"),
    (["+schedule._target_=os.system"], "refused"),
    (["+hydra.callbacks.x._target_=os.system"], "refused"),
    (["hydra.launcher._target_=os.system"], "refused"),
    (["hydra.job_logging.handlers.file.class=os.system"], "refused"),
    (["+hydra.job_logging.handlers.x={'()':os.system}"], ""),
    (["--experimental-rerun", "x.pickle"], "pickle"),
    (["--config-path", "/tmp"], "--config-dir"),
    (["--config-dir", "nowhere"], "no such directory"),
    (["task=evaluate"], "needs run=RUN_DIR"),
    (["task=compare"], "needs runs="),
    (["task=evaluate", "run=nowhere"], "no such directory"),
    (["task=evaluate", "run=."], "is no run"),
    (["resume=nowhere"], "no such directory"),
    (["-m", "task=evaluate", "run=a,b"], "takes one run"),
    (["-m", "schedule=linear,cosin"], "did you mean schedule=cosine?"),
    (["-m", "optimizer.lr=interval(0.1,0.2)"], "does not support sweep type"),
    (["-m", "trainer.steps=1,x"], "trainer.steps=x must be a whole number"),
    (["-m", "seed=range(0,0)"], "seed=range(0,0) gives no value"),
    (["-m", "seed=glob(*)"], "seed=glob(*) gives no value"),
    (["-m", "hydra.sweep.subdir=../q"], "hydra.sweep.subdir=../q"),
    (["-m", "hydra.sweep.subdir="], "hydra.sweep.subdir="),
    (["-m", "hydra.sweeper.max_batch_size=0", "seed=1,2"], "hydra.sweeper.max_batch_size=0: Hydra cannot do this"),
    (["hydra.sweeper.params={seed:'1,2'}"], "hydra.sweeper.params"),
    (["hydra.job.env_copy=[NO_SUCH]"], "hydra.job.env_copy=[NO_SUCH]"),
    (["hydra.job.name=a/b"], "hydra.job.name=a/b"),
    (["hydra.output_subdir=/tmp/x"], "hydra.output_subdir=/tmp/x"),
    (["hydra.job_logging.root.level=FOO"], "hydra.job_logging.root.level=FOO: Hydra cannot do this"),
    (["hydra.job_logging.version=2"], "hydra.job_logging.version=2"),
    (["hydra.searchpath=[pkg://tests]"], "plugins=[tests]"),
    (["debug=null"], "debug=null"),
    (["tracker.name=${oc.env:WANDB_API_KEY}"], "leave it in the environment"),
    (["run=somewhere"], "run=somewhere would be ignored"),
    (["task=sample", "run=x", "init=y"], "init=y would be ignored"),
    (["task=report", "runs=[x]", "resume=auto"], "resume=auto would be ignored"),
    (["resume=x", "init=y"], "init=y would be ignored"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "says"), REFUSED, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_sentence_and_leaves_nothing(
    arguments: list[str], says: str, calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert says in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert "search path" not in err.lower()
    assert str(Path(__file__).parents[1]) not in err
    assert (out, calls, files(tmp_path)) == ("", [], [])


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.yaml", b"\xff\xfe\x00", "x.yaml cannot be read"),
        ("x.yaml", b"a: [1\n", "x.yaml cannot be read"),
        ("experiment/e.yaml", b"trainer:\n  steps: 3\n", "e.yaml: a recipe sets keys of the whole configuration"),
        ("experiment/paper/e.yaml", b"trainer:\n  steps: 3\n", "e.yaml: a recipe sets keys of the whole configuration"),
        ("experiment/e.yaml", b"# @package _global_\nresume: elsewhere\n", "resume=elsewhere stands in a file"),
        ("experiment/e.yaml", b"# @package _global_\ndefaults:\n  - /nothere: x\n", "there is no group nothere"),
    ],
)
def test_a_file_of_ones_own_that_cannot_be_used_is_named(
    name: str, text: bytes, says: str, calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(text)
    assert main(["--config-dir", "own", *(["experiment=e"] if "experiment" in name else [])]) == 1
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1 and not calls


def test_a_papers_recipes_lie_in_a_folder(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """However --help's line is read: experiment/FOLDER: NAME."""
    for line in ("experiment=sohl_dickstein/swiss_roll", "experiment/sohl_dickstein=swiss_roll"):
        assert main([line, "--cfg", "job"]) == 0
        assert "noise: 0.002" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "swiss_roll" in capsys.readouterr().out.partition("experiment/sohl_dickstein: ")[2].partition("\n")[0]


@pytest.mark.parametrize("told", [{"WORLD_SIZE": "abc"}, {"WORLD_SIZE": "2"}, {"WORLD_SIZE": "2", "RANK": "x"}])
def test_an_environment_that_is_not_torchruns_is_refused(
    told: dict[str, str], calls: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 1
    assert "torchrun sets WORLD_SIZE, RANK" in capsys.readouterr().err
    assert not calls
    monkeypatch.setenv("WORLD_SIZE", "")
    monkeypatch.delenv("RANK", raising=False)
    assert main([]) == 0


@pytest.mark.parametrize(
    "line",
    [
        "seed=99999999999999999999", "bound.seed=99999999999999999999", "validation.seed=99999999999999999999", "device=meta",
        "validation.examples=0", "fit.batch_size=0", "preview.eta=2", "schedule.T=1000000000000",
    ],
)  # fmt: skip
def test_what_only_the_parts_can_judge_names_the_key_that_was_typed(line: str) -> None:
    from difflab.assemble import assemble
    from tests.test_combinations import config_of

    with pytest.raises(ConfigError, match=f"^{line.partition('.')[0].partition('=')[0]}.*{line.partition('=')[2][:5]}"):
        assemble(config_of([line]))


def test_full_errors_come_back_on_demand(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError):
        main(["schedule.T=abc"])


def test_a_typo_inside_an_experiment_file_is_refused(
    calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = tmp_path / "own" / "experiment"
    options.mkdir(parents=True)
    (options / "mine.yaml").write_text("# @package _global_\ntrainer:\n  stpes: 3\n")
    assert main(["--config-dir", "own", "experiment=mine"]) == 1
    assert "did you mean trainer.steps?" in capsys.readouterr().err
    (options / "mine.yaml").write_text("# @package _global_\ntrainer:\n  steps: 3\n")
    assert main(["--config-dir", "own", "experiment=mine"]) == 0
    assert calls[0][0]["trainer"]["steps"] == 3


@pytest.mark.parametrize(
    "node", ["plugins: [os]", "schedule: {name: os.path}", "hydra: {callbacks: {x: {_target_: os.system}}}"]
)
def test_files_allow_no_code(node: str, calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = tmp_path / "own" / "experiment"
    options.mkdir(parents=True)
    (options / "mine.yaml").write_text(f"# @package _global_\n{node}\n")
    assert main(["--config-dir", "own", "experiment=mine"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert calls == []


def test_a_refusal_by_what_is_built_leaves_nothing(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        assert (run_dir / ".hydra" / "config.yaml").is_file()
        raise ConfigError("schedule.T=3 must be at least 21.")

    stand_in(monkeypatch, refuse)
    assert main(["schedule.T=3"]) == 1
    assert capsys.readouterr().err == "schedule.T=3 must be at least 21.\n"
    assert files(tmp_path) == []


def test_a_crash_keeps_its_traceback_in_a_file(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        raise RuntimeError("the wheel\ncame off")

    stand_in(monkeypatch, crash)
    assert main([]) == 1
    err = capsys.readouterr().err
    assert err.startswith("RuntimeError: the wheel came off")
    assert len(err.splitlines()) == 1
    record = next(tmp_path.rglob("failed.json"))
    assert "Traceback" in json.loads(record.read_text())["traceback"]
    assert "the wheel came off" in (record.parent / "difflab.log").read_text()


# -- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_has_the_promised_directory_and_record(calls: list[Any], tmp_path: Path) -> None:
    assert main(["schedule=linear", "optimizer.lr=1"]) == 0
    config, directory = calls[0]
    date, name = directory.relative_to(tmp_path / "runs").parts
    assert time.strptime(date, "%Y-%m-%d")
    assert time.strptime(name[:8], "%H-%M-%S")
    assert name[8:-5] == "-linear-v-learned_range-unet_small"
    assert int(name[-4:], 16) >= 0
    assert type(config["optimizer"]["lr"]) is float
    record = {file: OmegaConf.load(directory / ".hydra" / f"{file}.yaml") for file in ("config", "overrides", "hydra")}
    assert record["config"].schedule.name == "linear"
    assert record["overrides"] == ["schedule=linear", "optimizer.lr=1"]
    assert record["hydra"].hydra.runtime.choices.schedule == "linear"
    assert Path.cwd() == tmp_path


def test_two_runs_never_share_a_directory(calls: list[Any]) -> None:
    assert [main([]) for _ in range(3)] == [0, 0, 0]
    assert len({directory for _, directory in calls}) == 3


@pytest.mark.parametrize("name", ['it\'s a=b,c [x] {q} "q" ünï %d', "back\\slash", "-dash"])
def test_odd_directory_names(name: str, calls: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFLAB_RUNS", str(tmp_path / name))
    assert main([]) == 0
    directory = calls[0][1]
    assert directory.is_relative_to(tmp_path / name)
    assert main([f"resume={quoted(str(directory))}"]) == 0
    assert calls[1][1] == directory


def test_the_variants_key_chooses_the_option(calls: list[Any]) -> None:
    assert main(["bound.method=stratified", "optimizer.name=adamw", "bound.times=3"]) == 0
    config = calls[0][0]
    assert (config["bound"]["method"], config["bound"]["times"], config["optimizer"]["name"]) == (
        "stratified",
        3,
        "adamw",
    )


def test_data_brings_its_model_and_decoder(calls: list[Any]) -> None:
    assert main(["data=swiss_roll"]) == 0
    assert main(["data=swiss_roll", "model=dit_small"]) == 0
    assert [c["model"]["name"] for c, _ in calls] == ["mlp", "dit"]
    assert {c["decoder"]["name"] for c, _ in calls} == {"gaussian"}


def test_plugins_count_when_typed(calls: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert main(["plugins=[mine]", "schedule.name=mine.schedule"]) == 0
    monkeypatch.setenv("DIFFLAB_PLUGINS", "other,mine")
    assert main(["schedule.name=mine.schedule"]) == 0
    monkeypatch.delenv("DIFFLAB_PLUGINS")
    assert main([f"resume='{calls[0][1]}'"]) == 1  # nor does the record of a run allow code


@pytest.mark.parametrize("code", [143, 130])
def test_exit_codes_of_signals_pass(code: int, calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        raise SystemExit(code)

    stand_in(monkeypatch, stop)
    assert main([]) == code


def test_keyboard_interrupt_is_130(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        raise KeyboardInterrupt

    stand_in(monkeypatch, stop)
    assert main([]) == 130


def test_sigterm_ends_with_143_and_handlers_are_put_back(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def wait(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        time.sleep(10)
        return {}

    stand_in(monkeypatch, wait)
    assert main([]) == 143
    assert signal.getsignal(signal.SIGTERM) is before


# -- from an earlier run ------------------------------------------------------------------------------------------------


def trained(calls: list[Any], *overrides: str) -> tuple[dict[str, Any], Path]:
    assert main(list(overrides)) == 0
    return calls[-1]


def test_resume_goes_on_with_the_runs_own_configuration(calls: list[Any]) -> None:
    config, directory = trained(
        calls,
        "schedule=linear",
        "experiment=improved_ddpm",
        "data.limit=7",
        """tracker.name='it\\'s \\${x} 3'""",
        "optimizer.lr=0.5",
    )
    assert main([f"resume={directory}", "trainer.steps=9"]) == 0
    again, same = calls[-1]
    assert same == directory
    assert again == {**config, "resume": str(directory), "trainer": {**config["trainer"], "steps": 9}}
    assert main([f"resume={directory}/checkpoints/step_00000001"]) == 0
    assert calls[-1][1] == directory
    assert calls[-1][0]["trainer"]["steps"] == 9


@pytest.mark.parametrize(
    "override", ["schedule.T=500", "schedule=linear", "model=unet", "data=mnist", "parameterization=eps"]
)
def test_resume_refuses_another_chain_model_or_data(
    override: str, calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, directory = trained(calls)
    record = (directory / ".hydra" / "config.yaml").read_text()
    for command in ([f"resume={directory}", override], [f"hydra.run.dir={directory}", "resume=auto", override]):
        assert main(command) == 1
        assert override.split("=")[0].split(".")[0] in capsys.readouterr().err
    assert len(calls) == 1
    assert (directory / ".hydra" / "config.yaml").read_text() == record


def test_resume_auto_starts_and_goes_on_with_one_command(calls: list[Any], tmp_path: Path) -> None:
    command = ["hydra.run.dir=here", "resume=auto", "schedule=linear"]
    assert [main(command), main(command)] == [0, 0]
    assert {directory for _, directory in calls} == {tmp_path / "here"}


def test_a_directory_with_checkpoints_is_refused_without_resume(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [main(["hydra.run.dir=here"]), main(["hydra.run.dir=here"])] == [0, 1]
    assert "set resume=auto" in capsys.readouterr().err


def test_a_damaged_record_is_named(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    _, directory = trained(calls, "schedule=linear")
    whole = (directory / ".hydra" / "config.yaml").read_text()
    for text in (
        whole.replace("name: linear", "name: lin"),
        f"{whole}checkpoint: null\n",
        f"{whole}sede: 1\n",
        whole.replace("target_se: null", "target_se: nul"),
    ):
        assert text != whole
        (directory / ".hydra" / "config.yaml").write_text(text)
        assert main([f"resume={directory}"]) == 1
        err = capsys.readouterr().err
        assert ".hydra/config.yaml" in err
        assert len(err.splitlines()) == 1
    for text in ("", "{", "- a", "\0", "seed: 0\n"):
        (directory / ".hydra" / "config.yaml").write_text(text)
        assert main([f"resume={directory}"]) == 1
        err = capsys.readouterr().err
        assert ".hydra/config.yaml cannot be read" in err
        assert len(err.splitlines()) == 1


def test_evaluate_takes_data_chain_and_model_from_the_run(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    config, directory = trained(calls, "schedule=linear", "data=gaussian", "data.limit=9", "seed=5")
    assert main(["task=evaluate", f"run={directory}", "bound=stratified", "bound.times=2", "data.limit=9"]) == 1
    assert "data.limit=9 cannot be changed here" in capsys.readouterr().err
    for own in ("augmentation=flip", "trainer.label_dropout=0.1"):  # how it was trained, which guidance rests on
        assert main(["task=sample", f"run={directory}", own]) == 1
        assert f"{own} cannot be changed here" in capsys.readouterr().err
    assert main(["task=evaluate", f"run={directory}", "bound=stratified", "bound.times=2"]) == 0
    again, elsewhere = calls[-1]
    assert elsewhere != directory
    assert (again["task"]["name"], again["bound"]["times"], again["resume"]) == ("evaluate", 2, None)
    for group in ("data", "schedule", "model", "variance", "decoder", "trainer"):
        assert again[group] == config[group]


# -- sweeps -------------------------------------------------------------------------------------------------------------


def sweep_directory(tmp_path: Path) -> Path:
    (directory,) = (tmp_path / "runs" / "multirun").glob("*/*")
    return directory


def test_a_sweep_runs_every_cell_in_its_directory(calls: list[Any], tmp_path: Path) -> None:
    assert main(["-m", "schedule=linear,cosine", "parameterization=eps,x0"]) == 0
    directory = sweep_directory(tmp_path)
    assert [d for _, d in calls] == [directory / str(i) for i in range(4)]
    assert [(c["schedule"]["name"], c["parameterization"]["name"]) for c, _ in calls] == [
        ("linear", "eps"), ("linear", "x0"), ("cosine", "eps"), ("cosine", "x0"),
    ]  # fmt: skip


def test_flags_may_stand_between_overrides(calls: list[Any]) -> None:
    assert main(["schedule=linear,cosine", "-m", "trainer.steps=3"]) == 0
    assert [(c["schedule"]["name"], c["trainer"]["steps"]) for c, _ in calls] == [("linear", 3), ("cosine", 3)]


def test_a_failing_job_stops_no_other_and_is_named(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        seen.append(config["seed"])
        if config["seed"] == 1:
            raise RuntimeError("the wheel came off")
        if config["seed"] == 2:
            raise ConfigError("seed=2 is refused.")
        return {"objective": 1.0}

    stand_in(monkeypatch, run)
    assert main(["-m", "seed=0,1,2,3"]) == 1
    assert seen == [0, 1, 2, 3]
    err = capsys.readouterr().err
    assert "job 1: seed=1 failed: RuntimeError: the wheel came off" in err
    assert "job 2: seed=2 failed: seed=2 is refused." in err
    directory = sweep_directory(tmp_path)
    assert sorted(p.parent.name for p in directory.glob("*/failed.json")) == ["1", "2"]
    assert "came off" in (directory / "1" / "difflab.log").read_text()
    assert (directory / "0" / "difflab.log").read_text() == ""


def test_a_refused_pair_is_skipped_and_listed(
    calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", "objective=simple,hybrid", "variance=fixed_beta,learned_range", "seed=3"]) == 0
    assert len(calls) == 3
    directory = sweep_directory(tmp_path)
    assert files(directory / "1") == ["not_defined.json"]
    written = (directory / "comparison.md").read_text()
    assert "not defined: 1: objective=simple variance=learned_range: " in written
    assert "no gradient" in written
    assert "not defined" in capsys.readouterr().out


def test_a_sweep_of_which_every_job_failed_still_leaves_its_comparison(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        raise RuntimeError("the wheel came off")

    stand_in(monkeypatch, run)
    assert main(["-m", "seed=0,1"]) == 1
    for name in ("comparison.md", "comparison.html"):
        text = (sweep_directory(tmp_path) / name).read_text()
        assert "No job finished" in text and text.count("the wheel came off") >= 2


def test_a_sweep_of_nothing_but_refused_pairs_fails(calls: list[Any]) -> None:
    assert main(["-m", "objective=simple", "variance=learned_range,learned_diagonal"]) == 1
    assert calls == []


def test_not_defined_from_what_is_built_is_skipped_too(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        if config["seed"]:
            raise NotDefined("model=mlp cannot take that shape; set model=unet.")
        return {"objective": 1.0}

    stand_in(monkeypatch, run)
    assert main(["-m", "seed=0,1"]) == 0
    assert (sweep_directory(tmp_path) / "1" / "not_defined.json").is_file()


def test_a_signal_ends_the_sweep_and_earlier_failures_are_still_told(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        seen.append(config["seed"])
        if config["seed"] == 0:
            raise RuntimeError("came off")
        raise SystemExit(143)

    stand_in(monkeypatch, run)
    assert main(["-m", "seed=0,1,2"]) == 143
    assert seen == [0, 1]
    assert "job 0: seed=0 failed: RuntimeError: came off" in capsys.readouterr().err


def test_jobs_leave_nothing_behind(calls: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    states = []

    def run(config: dict[str, Any], run_dir: Path) -> dict[str, Any]:
        states.append((Path.cwd(), os.environ.get("LEFT"), signal.getsignal(signal.SIGINT)))
        os.chdir("/")
        os.environ["LEFT"] = "behind"
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        random.seed(1)
        return {"objective": 1.0}

    stand_in(monkeypatch, run)
    assert main(["-m", "seed=0,1"]) == 0
    assert states[0] == states[1] == (tmp_path, None, signal.getsignal(signal.SIGINT))
    assert "LEFT" not in os.environ


def test_a_grid_may_stand_in_a_file(calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = tmp_path / "own" / "experiment"
    options.mkdir(parents=True)
    grid = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      schedule: linear,{}\n"
    (options / "grid.yaml").write_text(grid.format("cosin"))
    assert main(["--config-dir", "own", "experiment=grid"]) == 1
    assert "did you mean schedule=cosine?" in capsys.readouterr().err
    (options / "grid.yaml").write_text(grid.format("cosine"))
    assert main(["--config-dir", "own", "experiment=grid"]) == 0
    assert [c["schedule"]["name"] for c, _ in calls] == ["linear", "cosine"]


# -- the real process ---------------------------------------------------------------------------------------------------


def test_a_real_refusal_by_a_constructor(tmp_path: Path) -> None:
    done = shell("schedule=linear", "schedule.T=5", "tracker=none", "data=gaussian", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "schedule.T=5" in done.stderr
    assert files(tmp_path) == []


def test_completion_answers(tmp_path: Path) -> None:
    done = shell("-sc", "query=bash", cwd=tmp_path, COMP_LINE="difflab schedule=", COMP_POINT="17")
    assert done.stdout.split() == [f"schedule={name}" for name in sorted(load_schema().options["schedule"])]


def test_logging_is_as_before_once_a_run_is_over(calls: list[Any]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    assert main([]) == 0
    assert root.handlers == handlers
    assert root.level == level
