"""A whole run, small: its directory, its figures that agree with each other, resume, evaluate, sample, compare."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from difflab import tables
from difflab.config.compose import composer
from difflab.config.schema import conf_directory, load_schema
from difflab.data.base import Split
from difflab.errors import ConfigError
from difflab.sweep.plan import Plan, Spec
from difflab.sweep.record import save as save_plan
from difflab.task import compare, evaluate, sample, train
from difflab.train import checkpoint
from difflab.train.metrics import read
from tests.test_combinations import config_of

TINY = [
    "model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16", "schedule.T=12", "trainer.steps=6",
    "trainer.batch_size=16", "trainer.log_every=2", "trainer.val_every=3", "checkpoint.every=2", "checkpoint.keep_last=9",
    "bound.examples=6", "bound.times=3", "bound.exact_steps=2", "bound.draws=2", "validation.examples=6", "preview.steps=2", "preview.count=4",
    "sampler.steps=3", "sampler.count=4", "tracker=none",
]  # fmt: skip


def record(directory: Path, overrides: list[str]) -> None:
    """What cli leaves beside a run."""
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "overrides.yaml").write_text("".join(f"- {line}\n" for line in overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("sweep") / "0"
    record(directory, ["parameterization=v"])
    return directory, train.run(config_of(TINY), directory)


def test_the_run_directory_holds_what_the_contract_names(finished: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = finished
    for name in (
        "environment.txt", "metrics.jsonl", "result.json", "bound/step_00000006.csv", "bound/step_00000006.npz",
        "bound/step_00000006-clipped.csv", "bound/val_step_00000003.csv", "bound/train_step_00000003.csv", "figures/bound_per_t.png",
        "figures/heatmap.png", "samples/final.png", "samples/step_00000003.png", "checkpoints/best/manifest.json",
        "checkpoints/step_00000006/ema.safetensors",
    ):  # fmt: skip
        assert (directory / name).stat().st_size > 0, name


def test_every_figure_of_a_run_agrees(finished: tuple[Path, dict[str, Any]]) -> None:
    directory, result = finished
    saved = json.loads((directory / "result.json").read_text())
    assert saved["bpd"] == pytest.approx(result["bpd"])
    assert saved["bpd"] == pytest.approx(saved["prior_kl"] + saved["transition_kl"] + saved["decoder_nll"])
    assert saved["transition_kl"] == pytest.approx(saved["mean_error"] + saved["variance_mismatch"])
    with open(directory / "bound" / "step_00000006.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["term"] for row in rows] == ["decoder_nll"] + ["transition_kl"] * 11 + ["prior_kl"]
    assert sum(float(row["bpd"]) for row in rows) == pytest.approx(saved["bpd"], rel=1e-6)
    assert sum(float(row["se_noise"]) ** 2 for row in rows) > 0  # two draws: the error is split
    with np.load(directory / "bound" / "step_00000006.npz") as terms:
        assert terms["total"].mean() / (64 * np.log(2)) == pytest.approx(saved["bpd"], rel=1e-6)
    last = [row for row in read(directory / "metrics.jsonl") if "val/bpd" in row][-1]
    buckets = sum(last[f"bound/bucket_{i:02d}"] for i in range(16))
    assert buckets + last["val/prior_kl"] == pytest.approx(last["val/bpd"], rel=1e-6)
    assert saved["objective"] == pytest.approx(
        min(r["val/bpd"] for r in read(directory / "metrics.jsonl") if "val/bpd" in r)
    )


def test_a_resumed_run_equals_the_uninterrupted_one(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    directory, result = finished
    again = tmp_path / "again"
    shutil.copytree(directory, again)
    for step in (4, 6):
        shutil.rmtree(again / "checkpoints" / f"step_{step:08d}")
    resumed = train.run(config_of([*TINY, "resume=auto"]), again)
    states = [checkpoint.load(d / "checkpoints" / "step_00000006") for d in (directory, again)]
    for part in ("model", "ema"):
        assert all(torch.equal(states[0][part][name], states[1][part][name]) for name in states[0][part])
    assert resumed["bpd"] == result["bpd"]
    timing = ("train/images_per_s", "train/memory_gb", "summary")
    rows = [
        [{k: v for k, v in row.items() if k not in timing} for row in read(d / "metrics.jsonl")]
        for d in (directory, again)
    ]
    assert rows[0] == rows[1]


def test_a_finished_run_resumed_measures_again_and_trains_no_step(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    directory, result = finished
    again = tmp_path / "again"
    shutil.copytree(directory, again)
    assert train.run(config_of([*TINY, "resume=auto"]), again)["bpd"] == result["bpd"]


def test_a_directory_with_checkpoints_is_not_overwritten(finished: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="resume=auto"):
        train.run(config_of(TINY), finished[0])


def test_init_starts_from_another_runs_average(finished: tuple[Path, dict[str, Any]]) -> None:
    lab = train.assemble(config_of([*TINY, f"init={finished[0]}"]))
    session = train.Session(lab, finished[0].parent / "new")
    average = checkpoint.load(checkpoint.latest(finished[0]))["ema"]
    assert all(torch.equal(value, average[name]) for name, value in session.trainer.model.state_dict().items())
    assert session.trainer.step == 0


def test_evaluate_and_sample_read_a_run(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    directory, result = finished
    assert evaluate.run(config_of([*TINY, f"run={directory}"]), tmp_path)["bpd"] == pytest.approx(
        result["bpd"], rel=1e-6
    )
    best = evaluate.run(config_of([*TINY, f"run={directory}/checkpoints/best"]), tmp_path)
    assert best["step"] in (3, 6)
    picture = sample.run(config_of([*TINY, f"run={directory}", "sampler=ddim", "sampler.steps=2"]), tmp_path)
    assert Path(picture["samples"]).parent == directory / "samples"
    given = ["sampler=conditioned", "sampler.steps=2", "sampler.count=2", "sampler.examples=3", "sampler.particles=2"]
    own = [line for line in TINY if not line.startswith("sampler.")]
    picture = sample.run(config_of([*own, f"run={directory}", *given]), tmp_path)
    assert Path(picture["samples"]).name == "step_00000006-conditioned-2.png"


def test_comparison_pairs_examples_and_a_run_with_itself_differs_by_zero(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    directory, result = finished
    other = directory.parent / "1"
    record(other, ["parameterization=eps"])
    second = train.run(config_of([*TINY, "parameterization=eps"]), other)
    text = compare.write(directory.parent, {"cell": "why"})
    assert "not defined: cell: why" in text
    assert "parameterization=v" in text
    assert (
        "parameterization alone was varied" in text
        and "parameterization=eps costs +" in text
        and "own | fixed_beta" in text
    )
    shown = (directory.parent / "comparison.html").read_text()
    assert "not defined: cell: why" in shown and shown.count("data:image/png") == 4
    for name in ("effects", "shares", "variances"):
        assert (directory.parent / f"comparison_{name}.csv").is_file()
    for name in ("comparison_per_t", "comparison_log_snr", "comparison_ranking", "comparison_effects"):
        assert (directory.parent / "figures" / f"{name}.png").stat().st_size > 0
    rows = tables.load(directory.parent / "comparison.csv")
    assert rows["difference"][0] == 0.0
    assert rows["common_examples"].tolist() == [6, 6] and rows["common_noise"].tolist() == ["true", "true"]
    assert rows["difference"][1] == pytest.approx(abs(second["bpd"] - result["bpd"]), rel=1e-5)
    terms = tables.load(directory.parent / "comparison_terms.csv")
    ledgers = {str(d): tables.load(d / "bound" / "step_00000006.csv")["bpd"] for d in (directory, other)}
    best, worse = (ledgers[name] for name in rows["directory"])
    assert terms["difference"] == pytest.approx(worse - best, abs=1e-5)
    same = compare.run(config_of(["task=compare", "tracker=none", f"runs=[{directory},{directory}]"]), tmp_path)
    rows = tables.load(tmp_path / "comparison.csv")
    assert rows["difference"].tolist() == rows["difference_se"].tolist() == [0.0, 0.0]
    assert "no difference" in Path(same["comparison"]).read_text()


def test_a_typed_design_measures_all_runs_again(
    finished: tuple[Path, dict[str, Any]], copy: Path, tmp_path: Path
) -> None:
    for run in (finished[0], copy):
        (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config_of(TINY)))
    job = config_of(
        [
            "task=compare",
            "tracker=none",
            f"runs=[{finished[0]},{copy}]",
            "bound=exhaustive",
            "bound.examples=3",
            "device=cpu",
        ]
    )
    text = Path(compare.run({**job, "typed": ["bound", "runs"]}, tmp_path)["comparison"]).read_text()
    assert "2 runs on 3 examples" in text
    assert text.count("measured again: ") == 2


def test_runs_on_other_data_are_not_compared(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    for name, changes in (("0", {}), ("1", {"split_sha256": "0"})):
        shutil.copytree(finished[0], tmp_path / name)
        result = json.loads((tmp_path / name / "result.json").read_text()) | changes
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    with pytest.raises(ConfigError, match="not comparable"):
        compare.write(tmp_path)
    assert not (tmp_path / "comparison.md").exists()


def test_continuous_data_is_reported_in_nats(tmp_path: Path) -> None:
    overrides = [line for line in TINY if not line.startswith("model.")] + [
        "data=swiss_roll",
        "model.width=16",
        "model.embedding=16",
    ]
    result = train.run(config_of(overrides), tmp_path)
    assert "nats_per_dim" in result
    assert "bpd" not in result
    assert "clipped" not in result
    assert (tmp_path / "bound" / "step_00000006.csv").read_text().splitlines()[0].count("nats_per_dim") == 4
    assert any("val/nats_per_dim" in row for row in read(tmp_path / "metrics.jsonl"))


def test_a_non_finite_gradient_stops_before_the_update(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="step 4"):
        train.run(config_of([*TINY, "debug.nan_at_step=4"]), tmp_path)
    state = checkpoint.load(checkpoint.latest(tmp_path))
    assert all(bool(value.isfinite().all()) for value in state["model"].values())


def test_a_lagging_cpu_looks_at_the_gradient_before_it_validates(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("difflab.train.trainer.LAG", {"cpu": 1})
    late = [*TINY, "debug.nan_at_step=4", "trainer.val_every=4", "trainer.log_every=100"]
    with pytest.raises(FloatingPointError, match="step 4"):
        train.run(config_of(late), tmp_path)
    assert not list(tmp_path.rglob("val_*"))
    assert [path.name for path in checkpoint.newest_first(tmp_path)] == ["step_00000002"]


@pytest.fixture
def copy(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0], tmp_path / "copy"))


def test_auto_resumes_from_the_newest_checkpoint_that_is_whole(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = copy / "checkpoints" / "step_00000006" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    session = train.Session(train.assemble(config_of([*TINY, "resume=auto"])), copy)
    assert session.trainer.step == 4
    assert "step_00000006" in capsys.readouterr().err
    aside = copy / "checkpoints" / "damaged_step_00000006"
    with pytest.raises(ConfigError, match="damaged"):
        train.Session(train.assemble(config_of([*TINY, f"resume={aside}"])), copy)


def test_going_back_leaves_no_checkpoint_of_the_timeline_left(copy: Path) -> None:
    train.Session(train.assemble(config_of([*TINY, f"resume={copy}/checkpoints/step_00000002"])), copy)
    assert [path.name for path in checkpoint.newest_first(copy)] == ["step_00000002"]


def test_resuming_with_another_optimizer_is_refused_and_another_timestep_sampler_starts_anew(copy: Path) -> None:
    with pytest.raises(ConfigError, match="init="):
        train.Session(train.assemble(config_of([*TINY, "resume=auto", "optimizer=adamw"])), copy)
    session = train.Session(train.assemble(config_of([*TINY, "resume=auto", "timestep.history=3"])), copy)
    assert session.trainer.step == 6
    assert int(session.trainer.timestep.state_dict()["count"].sum()) == 0


def test_a_checkpoint_says_itself_what_it_was_trained_as(copy: Path, tmp_path: Path) -> None:
    """Whatever the command line or a config.yaml that was edited says."""
    for other in ("schedule.T=13", "schedule.s=0.01", "parameterization=eps", "data.limit=9"):
        key = other.partition("=")[0].partition(".")[0]
        with pytest.raises(ConfigError, match=f"^{key}.* in .*step_00000006 and .* here"):
            train.Session(train.assemble(config_of([*TINY, "resume=auto", other])), copy)
        with pytest.raises(ConfigError, match=f"^{key}.* in .*step_00000006 and .* here"):
            evaluate.run(config_of([*TINY, f"run={copy}", other]), tmp_path)


def test_a_run_does_not_go_on_with_other_examples_of_the_same_name(copy: Path) -> None:
    lab = train.assemble(config_of([*TINY, "resume=auto"]))
    x = lab.data.train.x[: len(lab.data.train)]
    lab.data.train = Split("train", x.flip(-1), lab.data.train.label, lab.data.train.index)
    with pytest.raises(ConfigError, match=r"data=digits: the train examples are others .*init="):
        train.Session(lab, copy)
    with pytest.raises(ConfigError, match="^seed is 0 in .*step_00000006 and 1 here"):
        train.Session(train.assemble(config_of([*TINY, "resume=auto", "seed=1"])), copy)


def test_evaluating_again_leaves_the_runs_own_measurement_alone(copy: Path, tmp_path: Path) -> None:
    before = (copy / "bound" / "step_00000006.npz").read_bytes()
    files = evaluate.run(config_of([*TINY, f"run={copy}", "bound.seed=5", "bound.clip_x0=true"]), tmp_path)["files"]
    assert (copy / "bound" / "step_00000006.npz").read_bytes() == before
    assert Path(f"{files}.json").parent == copy / "bound"
    assert Path(f"{files}.json").exists()


def test_a_comparison_evaluates_what_is_missing_and_names_what_it_cannot(
    finished: tuple[Path, dict[str, Any]], copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy has no result any more: measured again as the other run was, its bound is the same."""
    for run, seed in ((finished[0], 0), (copy, 1)):
        settings = config_of([*TINY, f"seed={seed}"])
        (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(settings))
    (copy / "result.json").unlink()
    for path in (copy / "bound").glob("step_00000006*.*"):
        path.unlink()
    lost = tmp_path / "lost"
    record(lost, [])
    job = config_of(
        ["task=compare", "tracker=none", f"runs=[{finished[0]},{copy},{lost}]", "bound=exhaustive", "device=cpu"]
    )
    (tmp_path / "out").mkdir()
    text = Path(compare.run(job, tmp_path / "out")["comparison"]).read_text()
    said = capsys.readouterr().err
    assert "it has no result, so it is evaluated with bound.method=stratified bound.examples=6 bound.draws=2" in said
    assert re.search(r"measured again: .*bound/step_00000006-stratified-\w{4}.json stands here", text)
    assert "failed: " in text and "holds no checkpoint" in text
    rows = tables.load(tmp_path / "out" / "comparison.csv")
    assert rows["difference"].tolist() == [0.0, 0.0]
    assert sorted(rows["seed"].tolist()) == [0, 1] and "| 2 |" in text  # two seeds of one configuration
    compare.run(job, tmp_path / "out")
    assert "evaluated with" not in capsys.readouterr().err
    with pytest.raises(ConfigError, match="holds no run"):
        compare.run(job | {"runs": str(tmp_path / "nothing")}, tmp_path)


def test_a_run_of_an_older_version_is_evaluated_with_its_own_values(copy: Path) -> None:
    """Inside a job, where Hydra composes nothing else; groups and keys that the record lacks come from today's files."""
    settings = config_of([*TINY, "schedule=linear", "schedule.T=30", "data.limit=50"])
    for group, key in (("fit", None), ("chains", None), ("bound", "target_se"), ("trainer", "ema_decay")):
        if key:
            del settings[group][key]
        else:
            del settings[group]
    (copy / ".hydra" / "config.yaml").write_text(yaml.safe_dump(settings))
    job = config_of(["task=compare", "tracker=none", f"runs=[{copy}]", "bound=exhaustive", "seed=9"])
    with composer(conf_directory(), load_schema()):
        own = compare.evaluation(copy, settings["bound"] | {"times": 4, "precision": "bf16"}, job)
    assert own["bound"] == settings["bound"] | {"times": 4, "target_se": None}
    assert own["precision"] == settings["precision"] | {"evaluate": "bf16"}
    assert own["trainer"] == settings["trainer"] | {"ema_decay": job["trainer"]["ema_decay"]}
    assert (own["schedule"], own["data"], own["seed"]) == (settings["schedule"], settings["data"], 0)
    assert (own["task"]["name"], own["run"], own["runs"]) == ("evaluate", str(copy), None)
    assert own["fit"] == job["fit"] and own["chains"]["verify"] == []
    (copy / ".hydra" / "config.yaml").write_text(yaml.safe_dump(settings | {"plugins": ["os"]}))
    assert (
        compare.evaluation(copy, settings["bound"] | {"precision": "fp32"}, job)["plugins"] == []
    )  # those of the run's command line do not count


def test_a_sweep_evaluates_nothing_and_names_what_did_not_finish(copy: Path) -> None:
    shutil.copytree(copy, copy.parent / "unfinished")
    (copy.parent / "unfinished" / "result.json").unlink()
    before = sorted(copy.parent.rglob("*.npz"))
    text = compare.write(copy.parent)
    assert "failed: unfinished: it has no result." in text
    (copy.parent / "7").mkdir()  # it never got as far as a record
    (copy.parent / "7" / "failed.json").write_text('{"overrides": ["a=b"], "message": "refused."}')
    assert "failed: 7: a=b: refused." in compare.write(copy.parent)
    (copy.parent / "unfinished" / "failed.json").write_text('{"overrides": [], "message": "it broke."}')
    assert "failed: unfinished: it has no result: it broke." in compare.write(copy.parent)
    assert "failed: unfinished: it has no result: it broke" in (copy.parent / "comparison.html").read_text()
    assert sorted(copy.parent.rglob("*.npz")) == before


def test_the_comparison_of_a_tracked_sweep_is_one_run_in_its_group(copy: Path) -> None:
    """However often it is made, and with the tables of its question; a sweep without a tracker has none."""
    table = {"title": "t", "rows": ["objective"], "values": ["bpd"]}
    save_plan(copy.parent, Plan("asked", "Which?", "", [Spec(copy.name, [], {"objective": "vlb"})], tables=[table]))
    sweep, node = copy.parent, config_of(["tracker.mode=offline", "tracker.name=of-one-job"])["tracker"]
    compare.write(sweep)
    assert not (sweep / "wandb").exists()
    (copy / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"tracker": node}))
    for _ in range(2):
        compare.write(sweep)
    first, second = sorted((sweep / "wandb").glob("offline-run-*"))
    assert first.name.rpartition("-")[2] == second.name.rpartition("-")[2]  # the same run, gone on with
    log = next(second.glob("*.wandb")).read_bytes()
    assert all(
        said in log for said in (b"compare", sweep.name.encode(), b"comparison/table", b"comparison/asked_table_1")
    )
    assert b"of-one-job" not in log


def test_files_that_contradict_each_other_are_not_compared(copy: Path) -> None:
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(result | {"bpd": result["bpd"] + 0.1}))
    with pytest.raises(ConfigError, match="add up"):
        compare.write(copy.parent)


def test_a_bound_that_is_not_finite_is_named_and_not_ranked(copy: Path) -> None:
    other = Path(shutil.copytree(copy, copy.parent / "diverged"))
    result = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps(result | {"bpd": None}))
    for name in ("comparison_effects.csv", "figures/comparison_effects.png"):
        (copy.parent / "figures").mkdir(exist_ok=True)
        (copy.parent / name).write_bytes(b"of an earlier comparison")
    text = compare.write(copy.parent)
    assert "failed: diverged: its bound is not finite." in text and text.startswith("1 run on")
    assert (
        not list(copy.parent.rglob("*_effects.*")) and "data:image" not in (copy.parent / "comparison.html").read_text()
    )


def test_a_chain_of_one_step_is_a_whole_run(tmp_path: Path) -> None:
    result = train.run(config_of([*TINY, "schedule.T=1"]), tmp_path)
    assert result["transition_kl"] == 0
    assert result["bpd"] == pytest.approx(result["prior_kl"] + result["decoder_nll"])
    assert result["variances"]["fixed_beta"]["bpd"] == pytest.approx(
        result["bpd"]
    )  # beta_tilde_1 reads beta_1: no range
    assert result["variances"]["optimal"]["bpd"] == result["bpd_optimal_variance"] < result["bpd"]


@pytest.mark.parametrize(
    "choice",
    ["objective=min_snr", "objective=p2", "objective=sigmoid", "decoder=categorical"],
)
def test_other_objectives_and_decoders_are_whole_runs_that_evaluate_again(choice: str, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    record(directory, [choice])
    result = train.run(config_of([*TINY, choice, "trainer.steps=20"]), directory)
    assert result["bpd"] == pytest.approx(result["prior_kl"] + result["transition_kl"] + result["decoder_nll"])
    again = evaluate.run(config_of([*TINY, choice, f"run={directory}", "bound.times=4"]), directory)
    assert again["bpd"] == pytest.approx(again["prior_kl"] + again["transition_kl"] + again["decoder_nll"])
    if choice == "decoder=categorical":
        assert len({again["variances"][name]["decoder_nll"] for name in again["variances"]}) == 1
    assert (directory / "samples" / "final.png").stat().st_size > 0
