"""A real offline run, read back with W&B's own reader; and every way in which W&B may fail without hurting the run."""

import inspect
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import wandb
import yaml
from matplotlib.image import imsave
from wandb.errors import CommError

from difflab.errors import ConfigError
from difflab.tracker.base import Curve, Rows, RunInfo
from difflab.tracker.none import NoTracker
from difflab.tracker.wandb import Wandb

CONF = Path(__file__).parents[2] / "conf" / "tracker"
KEY = "0123456789abcdef" * 2 + "01234567"
KEYS = {name: value for name, value in yaml.safe_load((CONF / "wandb.yaml").read_text()).items() if name != "kind"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setattr(Wandb, "_unreachable", False)


def tracker(**changes) -> Wandb:
    return Wandb(**(KEYS | changes))


def warnings(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("difflab")]


def run_file(run_dir: Path) -> Path:
    (found,) = (run_dir / "wandb").glob("offline-run-*")
    return found


def inspect_run(run_dir: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, str(run_file(run_dir))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def history(run_dir: Path) -> list[dict]:
    records = map(json.loads, inspect_run(run_dir, "--json").splitlines())
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def summary(run_dir: Path) -> dict:
    return json.loads(inspect_run(run_dir, "--summary", "--json"))


def test_a_whole_run(tmp_path, capfd):
    image = tmp_path / "samples" / "a.png"
    image.parent.mkdir()
    imsave(image, np.zeros((8, 8, 3)))
    streams = sys.stdout, sys.stderr
    before = dict(os.environ), sys.excepthook, sys.exit, threading.active_count(), list(logging.root.handlers)
    run = tracker(tags=["mine", "schedule=cosine"])
    config = {"schedule": {"name": "cosine", "T": 1000}, "path": Path("x"), "grid": (1, 2), "lr": np.float64(0.5)}
    run.start(tmp_path, config, RunInfo("cosine-eps", "sweep", "train", ["schedule=cosine", "t" * 90], "why", None))
    assert run.id
    run.log(50, {"train/loss": 0.5, "train/lr": None, "val/bpd": np.float64(2.0)})
    curve = Curve(["t", "log_snr", "L_t", "se"], [[2.0, 8.0, 0.5, 0.1], [3.0, 7.0, 0.25, 0.1]], "t", "L_t", "bits/dim")
    empty = Curve(["t", "L_t"], [], "t", "L_t", "T = 1")
    run.log(
        100,
        {"train/loss": float("nan"), "val/bpd": 1.9},
        {"sample/grid": image},
        {"bound/per_t": curve, "bound/e": empty},
        {"comparison/table": Rows(["run", "y"], [["a", 1.5], ["b", None]])},
    )
    image.unlink()  # it was copied
    run.summary({"bpd": 1.88, "best/val_bpd": 1.87, "objective": 1.87, "unit": "bpd", "nothing": None})
    run.finish()
    assert (dict(os.environ), sys.excepthook, sys.exit, threading.active_count(), logging.root.handlers) == before
    assert (sys.stdout, sys.stderr) == streams and wandb.run is None

    rows = history(tmp_path)
    assert [row["_step"] for row in rows] == [row["trainer/step"] for row in rows] == [50, 100]
    assert rows[0]["train/loss"] == 0.5 and "train/lr" not in rows[0] and rows[0]["val/bpd"] == 2.0
    assert rows[1]["sample/grid._type"] == "image-file" and rows[1]["bound/per_t_table.nrows"] == 2
    assert rows[1]["comparison/table.nrows"] == 2
    read = summary(tmp_path)
    assert read["state"] == "finished" and read["exit_code"] == 0 and read["project"] == "difflab"
    assert (
        read["summary"]["objective"] == 1.87
        and read["summary"]["best/val_bpd"] == 1.87
        and read["summary"]["unit"] == "bpd"
    )
    assert (
        read["tags"] == ["schedule=cosine", "t" * 64, "mine"]
        and read["name"] == "cosine-eps"
        and read["notes"] == "why"
    )
    assert read["config"]["schedule"] == {"name": "cosine", "T": 1000} and read["config"]["grid"] == [1, 2]
    records = inspect_run(tmp_path, "--json")
    assert '"glob_name":"*"' in records and '"step_metric":"trainer/step"' in records
    assert '"group":"sweep"' in records.replace("run_group", "group") and '"job_type":"train"' in records
    assert '"panelDefId":"wandb/line/v0"' in records
    assert (tmp_path / "wandb" / "artifacts").is_dir()  # not in the home

    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "wandb sync" in err and str(run_file(tmp_path)) in err


def test_jobs_of_one_process_get_a_run_each(tmp_path, capfd):
    ids = set()
    for job in ("0", "1"):
        run = tracker()
        run.start(tmp_path / job, {}, RunInfo(job))
        run.log(1, {"train/loss": 1.0})
        run.finish(1 if job == "1" else 0)
        ids.add(run.id)
        read = summary(tmp_path / job)
        assert read["exit_code"] == int(job) and '{"objective":null}' in inspect_run(
            tmp_path / job, "--json"
        )  # never measured
        run.log(2, {"train/loss": 1.0})  # after the end: nothing happens
        run.summary({"bpd": 1.0})
        run.finish()
    assert len(ids) == 2 and capfd.readouterr().err.count("\n") == 2


def test_resume_keeps_the_id(tmp_path):
    first, second = tracker(), tracker()
    first.start(tmp_path / "a", {}, RunInfo("a"))
    first.finish()
    second.start(tmp_path / "b", {}, RunInfo("a", id=first.id))
    second.log(700, {"train/loss": 1.0})
    second.finish()
    assert second.id == first.id and summary(tmp_path / "b")["run_id"] == first.id
    assert history(tmp_path / "b")[0]["_step"] == 700


def test_a_killed_run_keeps_what_was_logged_a_second_before(tmp_path):
    code = f"""
import os, time
from pathlib import Path
from difflab.tracker.wandb import Wandb
from difflab.tracker.base import RunInfo
run = Wandb(**{KEYS!r})
run.start(Path({str(tmp_path)!r}), {{}}, RunInfo("killed"))
run.log(1, {{"train/loss": 1.0}})
time.sleep(2)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert [row["train/loss"] for row in history(tmp_path)] == [1.0]


def test_a_step_that_is_held_already_costs_one_warning(tmp_path, caplog):
    run = tracker()
    run.start(tmp_path, {}, RunInfo("a"))
    for step, loss in ((0, 1.0), (5, 2.0), (5, 3.0), (3, 4.0)):
        run.log(step, {"train/loss": loss})
    run.finish()
    assert [(row["_step"], row["train/loss"]) for row in history(tmp_path)] == [(0, 1.0), (5, 2.0)]
    (warning,) = warnings(caplog)
    assert "already holds step 5" in warning


def test_text_is_a_table_of_its_lines(tmp_path, caplog):
    path = tmp_path / "final.txt"
    path.write_text("ab⏎c\u2028d\n\nef\n", encoding="utf-8")
    run = tracker()
    run.start(tmp_path, {}, RunInfo("a"))
    run.log(1, {"train/loss": 1.0}, {"sample/grid": path})
    run.finish()
    (row,) = history(tmp_path)
    assert row["sample/grid._type"] == "table-file" and not warnings(caplog)
    table = json.loads((run_file(tmp_path) / "files" / row["sample/grid.path"]).read_text(encoding="utf-8"))
    assert table["columns"] == ["sample"] and table["data"] == [["ab⏎c\u2028d"], [""], ["ef"]]


def test_a_missing_picture_does_not_cost_the_numbers(tmp_path, caplog):
    run = tracker()
    run.start(tmp_path, {}, RunInfo("a"))
    run.log(
        1,
        {"train/loss": 1.0},
        {"sample/grid": tmp_path / "none.png"},
        {"bound/per_t": Curve(["t"], [[1.0]], "t", "y", "")},
    )
    run.finish()
    assert history(tmp_path)[0]["train/loss"] == 1.0
    (warning,) = warnings(caplog)
    assert "sample/grid" in warning


def test_a_table_that_cannot_be_staged_does_not_cost_the_numbers(tmp_path, caplog, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "file" / "data"))
    run = tracker()
    run.start(tmp_path, {}, RunInfo("a"))
    for step in (1, 2):
        run.log(step, {"train/loss": step}, curves={"bound/per_t": Curve(["t", "y"], [[1.0, 2.0]], "t", "y", "")})
    run.finish()
    assert [(row["_step"], row["train/loss"]) for row in history(tmp_path)] == [(1, 1), (2, 2)]
    assert len(warnings(caplog)) == 1


def test_a_dead_service_does_not_stop_the_run(tmp_path, caplog):
    run = tracker()
    run.start(tmp_path, {}, RunInfo("a"))
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("needs Linux to find the service process")
    for pid in children.read_text().split():
        if "wandb-core" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(int(pid), 9)
    for step in range(3):
        run.log(step, {"train/loss": 1.0})
    run.summary({"bpd": 1.0})
    run.finish()
    assert len(warnings(caplog)) == 1


def test_no_server_means_offline_and_the_next_job_does_not_wait(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    tried, init = [], wandb.init

    def unreachable(**arguments):
        tried.append(arguments["mode"])
        assert arguments["settings"].init_timeout == 25
        if arguments["mode"] == "online":
            raise CommError("Run initialization has timed out\nafter 30 s")
        return init(**arguments)

    monkeypatch.setattr(wandb, "init", unreachable)
    for job in ("a", "b"):
        run = tracker()
        run.start(tmp_path / job, {}, RunInfo(job))
        run.log(1, {"train/loss": 1.0})
        run.finish()
    assert tried == ["online", "offline", "offline"]
    assert len(warnings(caplog)) == 2 and "has timed out)" in warnings(caplog)[0]
    assert history(tmp_path / "b")
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_wandb_failing_altogether_is_one_warning(tmp_path, caplog, monkeypatch, capfd):
    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    before = sys.excepthook, sys.exit, dict(os.environ)
    run = tracker()
    run.start(tmp_path, {}, RunInfo("a", id="old"))
    run.log(1, {"train/loss": 1.0})
    run.summary({"bpd": 1.0})
    run.artifact(tmp_path, "checkpoint")
    run.finish()
    (warning,) = warnings(caplog)
    assert "ZeroDivisionError" in warning and capfd.readouterr().err.count("\n") <= 1
    assert run.id == "old"  # a later resume may still find its run
    assert (sys.excepthook, sys.exit, dict(os.environ)) == before


@pytest.mark.parametrize(
    ("mode", "variable", "key", "chosen"),
    [
        (None, None, None, "offline"),
        (None, None, "environment", "online"),
        (None, None, "netrc", "online"),
        ("offline", None, "environment", "offline"),
        ("online", None, None, "offline"),  # and not a question on the terminal
        ("online", "offline", "environment", "online"),  # what the configuration says beats the variable
        (None, "offline", "environment", "offline"),
        (None, "online", None, "offline"),
        (None, "disabled", "environment", "disabled"),
        ("disabled", None, "environment", "disabled"),
    ],
)
def test_the_mode(monkeypatch, tmp_path, mode, variable, key, chosen):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    if key == "environment":
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    if key == "netrc":
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1:9 login user password {KEY}\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    try:
        assert tracker(mode=mode)._choose_mode(wandb) == chosen
    finally:
        wandb.teardown()


def test_disabled_leaves_no_trace(tmp_path, capfd):
    run = tracker(mode="disabled")
    run.start(tmp_path, {}, RunInfo("a"))
    run.log(1, {"train/loss": 1.0}, curves={"bound/per_t": Curve(["t", "y"], [[1.0, 2.0]], "t", "y", "")})
    run.finish()
    assert capfd.readouterr().err == "" and not list(tmp_path.rglob("*.wandb"))


@pytest.mark.parametrize("kept", [True, False])
def test_artifacts_are_opt_in(tmp_path, kept):
    checkpoint = tmp_path / "checkpoints" / "step_1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    run = tracker(artifacts=kept)
    run.start(tmp_path, {}, RunInfo("a"))
    run.artifact(checkpoint, "model of run/1")
    run.finish()
    assert ('"type":"artifact"' in inspect_run(tmp_path, "--json")) is kept


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mode": "on"}, "tracker.mode=on is not one of"),
        ({"project": "a/b"}, "tracker.project=a/b must be"),
        ({"project": ""}, "tracker.project= must be"),
        ({"tags": "mine"}, r"write tracker.tags=\[mine\]"),
    ],
)
def test_bad_values_are_refused_in_a_sentence(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        tracker(**change)


@pytest.mark.parametrize(("name", "cls"), [("wandb", Wandb), ("none", NoTracker)])
def test_the_yaml_has_every_key_and_a_word_on_each(name, cls):
    text = (CONF / f"{name}.yaml").read_text()
    node = yaml.safe_load(text)
    keyword_only = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert node.pop("kind") == name and list(node) == keyword_only
    assert all("  # " in line for line in text.splitlines() if line and not line.startswith("#"))


def test_wandb_is_imported_only_when_a_run_starts():
    code = f"""
import sys
from difflab.tracker.wandb import Wandb
Wandb(**{KEYS!r})
assert "wandb" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
