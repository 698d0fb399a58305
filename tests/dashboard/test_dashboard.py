"""Every key that the workspace and the report name is one that a real run logs; the spec is one that the library reads."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from difflab import cli, gaussian
from difflab.dashboard import __main__ as command
from difflab.dashboard import push, sections, workspace
from difflab.errors import ConfigError
from difflab.figure.curve import BUCKETS
from difflab.space.autoencoder import Autoencoder
from difflab.space.pca import Pca
from difflab.task.train import GROUPS
from difflab.tracker.base import STEP
from tests.tracker.test_wandb import clean_environment, inspect_run, run_file  # noqa: F401

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TINY = [
    "schedule.T=12", "trainer.steps=1", "trainer.batch_size=8", "trainer.log_every=1", "trainer.val_every=1", "bound.examples=4", "bound.times=2",
    "bound.exact_steps=1", "validation.examples=4", "fit.examples=4", "chains.verify=[]", "preview.steps=2", "preview.count=4", "sampler.steps=2",
    "sampler.count=4", "tracker=wandb", "data.limit=60",
]  # fmt: skip
UNET = ["model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16"]
RUNS = {  # name: what it runs, its unit, what a panel's `only` may ask for
    "pictures": (UNET, "bpd", {"", sections.PICTURES}),
    "points": (["data=swiss_roll", "space=pca", "space.k=1"], "nats_per_dim", {"", sections.SPACE}),
}


class Logged:
    """What a real offline run holds, read back with W&B's own reader."""

    def __init__(self, run_dir: Path) -> None:
        records = [json.loads(line) for line in inspect_run(run_dir, "--json").splitlines()]
        rows = [record["history"]["item"] for record in records if record["type"] == "history"]
        read = json.loads(inspect_run(run_dir, "--summary", "--json"))
        self.config, self.summary = read["config"], read["summary"]
        keys = {key for row in rows for key in row if not key.startswith("_")}
        # a picture or a table is several entries, `key._type` among them
        self.media = {key.removesuffix("._type"): row[key] for row in rows for key in row if key.endswith("._type")}
        self.scalars = {key for key in keys if not any(key.startswith(f"{name}.") for name in self.media)}
        self.tables = {key.removesuffix("_table") for key, kind in self.media.items() if kind == "table-file"}
        self.pictures = {key for key, kind in self.media.items() if kind == "image-file"}
        self.columns = {
            key: json.loads((run_file(run_dir) / "files" / row[f"{key}_table.path"]).read_text())["columns"]
            for row in rows for key in self.tables if f"{key}_table.path" in row
        }  # fmt: skip
        self.drawn: dict[str, Any] = {}  # how wandb itself draws a table that was logged as a plot
        for record in records:
            for name, value in record.get("config", {}).get("update", {}).items():
                if name.startswith("_wandb.visualize."):
                    self.drawn[name.removeprefix("_wandb.visualize.")] = value["panel_config"]

    def keys(self) -> set[str]:
        return self.scalars | self.tables | self.pictures


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Logged]:
    found = {}
    for name, (overrides, _, _) in RUNS.items():
        directory = tmp_path_factory.mktemp(name)
        assert cli.main([*TINY, *overrides, f"hydra.run.dir={directory}"]) == 0
        found[name] = Logged(directory)
    return found


@pytest.fixture(autouse=True)
def offline(clean_environment: None) -> None:  # noqa: F811
    """No key, whatever the machine has."""


def at(config: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        config = config[part]
    return config


HELD = {
    sections.Lines: lambda run: run.scalars, sections.Curve: lambda run: run.tables, sections.Pictures: lambda run: run.pictures,
    sections.Bars: lambda run: run.summary, sections.Choices: lambda run: run.summary,
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_every_key_of_a_panel_is_logged_by_a_real_run(logged: dict[str, Logged], name: str) -> None:
    _, unit, can = RUNS[name]
    run = logged[name]
    shown = [panel for panel in sections.panels(unit) if panel.only in can and not panel.only]
    assert {key for panel in shown for key in panel.keys if key not in HELD[type(panel)](run)} == set()
    assert set(sections.columns(unit)) <= set(run.summary)
    for path in (*sections.BY, "seed"):
        assert at(run.config, path) is not None
    assert STEP in run.scalars


@pytest.mark.parametrize("name", RUNS)
def test_what_only_some_runs_log_is_declared(logged: dict[str, Logged], name: str) -> None:
    _, unit, can = RUNS[name]
    for panel in sections.panels(unit):
        if panel.only:
            present = any(key in HELD[type(panel)](logged[name]) for key in panel.keys)
            wanted = panel.only in can and not set(panel.keys) & {f"val/{term}" for term in Autoencoder.terms}
            assert present == wanted, panel


@pytest.mark.parametrize("name", RUNS)
def test_every_logged_key_is_shown_or_left_out_with_a_reason(logged: dict[str, Logged], name: str) -> None:
    assert unaccounted(logged[name].keys(), RUNS[name][1]) == set()


def test_a_curve_is_drawn_as_the_run_itself_draws_it(logged: dict[str, Logged]) -> None:
    for name, (_, unit, _) in RUNS.items():
        for panel in sections.panels(unit):
            if isinstance(panel, sections.Curve):
                (key,), run = panel.keys, logged[name]
                drawn = workspace.DRAWN[sections.Curve](panel)
                own = run.drawn[key]
                assert drawn.chart_name == own["panelDefId"]
                assert drawn.chart_fields == {k: v for k, v in own["fieldSettings"].items() if v is not None}
                assert set(drawn.chart_fields.values()) <= set(run.columns[key])
                assert drawn.query["summaryTable"]["tableKey"] in str(own["userQuery"])


def unaccounted(keys: set[str], unit: str) -> set[str]:
    shown = {key for panel in sections.panels(unit) for key in panel.keys} | set(sections.columns(unit))
    return {key for key in keys - shown if not any(fnmatch.fnmatch(key, left) for left in sections.left_out(unit))}


def documented(text: str) -> set[str]:
    """The keys of the README's table, in bits/dim, as they are logged."""
    table = text[text.index("## What is logged") :]
    keys: set[str] = set()
    for line in re.findall(r"^\| (?!key)(.*?) \|", table[: table.index("\n\n", table.index("|---"))], re.M):
        named = re.findall(r"`([^`]+)`", line)
        for key in named:
            if key == "_15":
                keys |= {f"bound/bucket_{k:02d}" for k in range(16)}
            elif key == "val/space_*":
                keys |= {f"val/{term}" for term in (*Autoencoder.terms, "space_volume", "space_residual")}
            elif key not in ("_se", "trainer/step"):
                keys.add(key)
    return keys


def test_the_readmes_keys_and_the_workspace_agree() -> None:
    keys = documented(README)
    assert len(keys) > 40
    assert unaccounted(keys, "bpd") == set()
    missing = {key for panel in sections.panels("bpd") for key in panel.keys if "/" in key} - keys
    # how the final measurement is drawn is told of by that line of the table; anything else is a key nobody documented
    assert missing <= {"bound/figure", "bound/figure_log_snr", "sample/final"}


def test_what_stands_twice_is_the_same() -> None:
    assert {unit.key: unit.label for unit in (gaussian.BITS, gaussian.NATS)} == sections.UNITS
    assert sections.CHOICES == GROUPS
    assert sections.BUCKETS == BUCKETS
    space = {key for panel in sections.panels("bpd") if panel.only == sections.SPACE and isinstance(panel, sections.Lines) for key in panel.keys}  # fmt: skip
    assert space == {f"val/{term}" for term in (*Autoencoder.terms, "space_volume", "space_residual")}
    assert Pca.__module__  # its terms depend on k, and the run above has both


# -- the spec ---------------------------------------------------------------------------------------------------------


def leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        for value in node.values():
            yield from leaves(value)
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value)
    else:
        yield node


GROUP = """multirun/a=b<c>'d'"e"\\"""


@pytest.mark.parametrize("unit", sections.UNITS)
def test_the_library_reads_its_own_spec_back(unit: str) -> None:
    spec = workspace.spec(workspace.workspace(unit, "me", "mine", GROUP, ("choices.schedule", "seed")))
    assert workspace.spec(workspace.workspace_from(spec)) == spec
    section = spec["spec"]["section"]
    assert [one["name"] for one in section["panelBankConfig"]["sections"]] == [s.name for s in sections.sections(unit)]
    (runs,) = section["runSets"]
    assert [one["name"] for one in runs["grouping"]] == ["choices.value.schedule", "seed.value"]
    assert runs["filters"]["filters"] == [
        {"key": {"section": "run", "name": "group"}, "op": "=", "value": GROUP, "disabled": False}
    ]
    assert section["settings"]["xAxis"] == STEP
    for one in section["panelBankConfig"]["sections"]:
        assert one["localPanelSettings"]["xAxis"] == STEP
        assert all("Unknown" not in panel["viewType"] for panel in one["panels"])
    report = workspace.spec(workspace.report(unit, "me", "mine", GROUP))
    again = workspace.spec(workspace.report_from(report))
    report["spec"].pop("width"), again["spec"].pop("width")  # the library does not read it back
    assert again == report


def test_workspace_and_report_have_the_same_panels_and_every_key_is_in_them() -> None:
    spec = workspace.spec(workspace.workspace("bpd", "", "p"))
    report = workspace.spec(workspace.report("bpd", "", "p"))
    of_view = [p for s in spec["spec"]["section"]["panelBankConfig"]["sections"] for p in s["panels"] if p["viewType"] != "Markdown Panel"]  # fmt: skip
    grids = [block["metadata"] for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]
    of_report = [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    assert [(p["viewType"], p["config"]) for p in of_view] == [(p["viewType"], p["config"]) for p in of_report]
    places = [(p["layout"]["x"], p["layout"]["y"]) for p in grids[0]["panelBankSectionConfig"]["panels"]]
    assert len(set(places)) == len(places)  # none lies upon another
    named = {leaf.removeprefix("summary_metrics.").removeprefix("summary:").removesuffix("_table") for leaf in leaves([p["config"] for p in of_view]) if isinstance(leaf, str)}  # fmt: skip
    assert {key for panel in sections.panels("bpd") for key in panel.keys} <= named


def run_command(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = command.main([*arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_without_a_server_the_spec_is_printed_and_is_the_same_each_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run_command("--group", "g", capsys=capsys)
    assert code == 0
    assert err.count("\n") == 1 and "--push" in err and "wandb login" in err and "nats_per_dim" in err
    spec = json.loads(out)
    assert spec["workspace"] == workspace.spec(workspace.workspace("bpd", "", "difflab", "g"))
    assert spec["report"] == workspace.spec(workspace.report("bpd", "", "difflab", "g"))
    file = tmp_path / "new" / "spec.json"
    assert run_command("--group", "g", "--json", str(file), capsys=capsys)[1] == f"{file}\n"
    assert file.read_text() == out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--push"], "--push needs an API key"),
        (["--by", "schedule,typo"], "--by schedule,typo: typo is neither a group nor a key"),
        (["--by", ""], "an empty name is neither"),
        (["--unit", "bits"], "--unit bits is not one of bpd, nats_per_dim"),
        (["--project", "me/mine"], "--project me/mine must be a name without /"),
        (["--group", ""], "--group is empty"),
        (["--json", "/proc/none/x.json"], "--json /proc/none/x.json cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_command(*arguments, capsys=capsys)
    assert code == 1 and out == ""
    assert err.count("\n") == 1 and sentence in err


def test_a_choice_is_grouped_by_its_option_and_a_key_by_its_value() -> None:
    schema = command.load_schema()
    assert command._by("schedule,optimizer.lr,seed,choices.model,schedule", schema) == (
        "choices.schedule", "optimizer.lr", "seed", "choices.model"
    )  # fmt: skip
    assert command._by(None, schema) == sections.BY
    for path in sections.BY:
        assert command._by(path, schema) == (path,)


def test_without_the_library_one_sentence_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['wandb_workspaces'] = None\nfrom difflab.dashboard.__main__ import main\nsys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "pip install 'difflab[dashboard]'" in done.stderr


def test_the_sections_are_read_without_wandb_or_torch() -> None:
    code = "import sys, difflab.dashboard.sections, difflab.dashboard.__main__; assert not {'wandb', 'torch', 'wandb_workspaces'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class Server:
    """What the library asks of wandb.Api, answered from here."""

    default_entity = "me"

    def __init__(self, **_: Any) -> None:
        self._service_api = self

    app_url = "http://server.invalid"
    saved: list[dict[str, Any]] = []  # noqa: RUF012

    def projects(self, entity: str) -> list[Any]:
        return [type("Project", (), {"name": "difflab"})]

    def execute_graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" not in query:
            raise AssertionError(query)
        self.saved.append(variables)
        view = {"id": "1", "name": "nw-x-v", "displayName": variables["displayName"], "description": "", "spec": variables["spec"],
                "project": {"name": "difflab", "entityName": "me"}, "createdAt": None, "updatedAt": None, "type": "runs", "user": {"username": "me"}}  # fmt: skip
        return {"upsertView": {"view": view, "inserted": True}}


def test_a_push_saves_what_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(wandb, "Api", Server)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    code, out, err = run_command("--push", "--group", "g", capsys=capsys)
    assert code == 0, err
    first, second = Server.saved
    assert json.loads(first["spec"]) == workspace.spec(workspace.workspace("bpd", "me", "difflab", "g"))["spec"]
    assert json.loads(second["spec"]) == workspace.spec(workspace.report("bpd", "me", "difflab", "g"))["spec"]
    assert (first["entityName"], first["projectName"], second["entityName"]) == ("me", "difflab", "me")
    assert [line.split(" ")[0] for line in out.splitlines()] == ["workspace", "report"]
    assert all("http://server.invalid/me/difflab" in line for line in out.splitlines())


def test_a_server_that_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Server):
        def execute_graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
            raise RuntimeError("permission\ndenied")

    monkeypatch.setattr(wandb, "Api", Refusing)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(ConfigError, match=r"did not take it \(permission\)"):
        push.push(None, lambda entity: [workspace.workspace("bpd", entity, "p")])
    monkeypatch.setattr(Refusing, "default_entity", None)
    with pytest.raises(ConfigError, match="--entity is not given"):
        push.push(None, lambda entity: [])
