"""The tree is the registry: folders, files and constructors agree, and values stand in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

import difflab
from difflab.build import parameters, variant
from difflab.config.compose import composer, plain
from difflab.config.schema import conf_directory, load_schema, read_fields

CONF = conf_directory()
PACKAGE = Path(difflab.__file__).parent
SCHEMA = load_schema()
GROUPS = [group for group in SCHEMA.options if SCHEMA.name_key(group) and group != "task"]
OPTIONS = [(group, option) for group in GROUPS for option in SCHEMA.options[group]]
FILES = sorted(path for path in CONF.rglob("*.yaml") if path.relative_to(CONF).parts[0] not in ("hydra", "local"))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_a_file_shows_exactly_the_constructors_keys(group: str, option: str) -> None:
    file = SCHEMA.options[group][option]
    assert file.name is not None
    keys = set(file.values) - {SCHEMA.name_key(group)}
    _, wanted = parameters(variant(group, file.name))
    assert keys == set(wanted)


@pytest.mark.parametrize("group", GROUPS)
def test_every_variant_has_a_file(group: str) -> None:
    modules = {path.stem for path in (PACKAGE / group).glob("*.py") if not path.stem.startswith("_")} - {"base"}
    variants = {m for m in modules if _defines_variant(group, m)}
    assert variants <= set(SCHEMA.names(group))


def _defines_variant(group: str, module: str) -> bool:
    tree = ast.parse((PACKAGE / group / f"{module}.py").read_text())
    return (
        any(isinstance(node, ast.ClassDef) and node.bases for node in tree.body)
        and (PACKAGE / group / "base.py").exists()
        and _has_variant(group, module)
    )


def _has_variant(group: str, module: str) -> bool:
    from difflab.errors import ConfigError

    try:
        variant(group, module)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("task", list(SCHEMA.options["task"]))
def test_every_task_is_a_module_with_run(task: str) -> None:
    tree = ast.parse((PACKAGE / "task" / f"{task}.py").read_text())
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    assert [a.arg for a in run.args.args] == ["config", "run_dir"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONF)))
def test_a_null_names_its_type_in_its_comment(path: Path) -> None:
    untyped = [key for key, field in read_fields(path).items() if key != "defaults" and field.null and not field.kinds]
    assert not untyped, f"{path.name}: write the type first, as in `{untyped[0]}: null  # int: ...`"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONF)))
def test_every_file_begins_with_a_sentence(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")


@pytest.mark.parametrize("debug", [p.stem for p in sorted((CONF / "debug").glob("*.yaml"))])
@pytest.mark.parametrize("data", ["digits", "swiss_roll"])
def test_debug_options_suit_every_kind_of_data(debug: str, data: str) -> None:
    from difflab.config.check import check

    with composer(CONF, SCHEMA) as composing:
        check(plain(composing.compose([f"debug={debug}", f"data={data}"])), SCHEMA)


RECIPES = [p.relative_to(CONF / "experiment").with_suffix("").as_posix() for p in FILES if "experiment" in p.parts]


@pytest.mark.parametrize("experiment", RECIPES)
def test_experiments_compose(experiment: str) -> None:
    from difflab.config.check import check

    with composer(CONF, SCHEMA) as composing:
        check(plain(composing.compose([f"experiment={experiment}"])), SCHEMA)


def test_data_and_then_space_come_after_what_they_override() -> None:
    defaults = [
        next(iter(d)) for d in yaml.safe_load((CONF / "config.yaml").read_text())["defaults"] if isinstance(d, dict)
    ]
    assert defaults.index("space") > defaults.index("data") > max(defaults.index("model"), defaults.index("decoder"))


def test_only_the_rim_imports_hydra() -> None:
    sweeps = {PACKAGE / "sweep" / "plan.py", PACKAGE / "sweep" / "plugins.py"}
    rim = {
        PACKAGE / "cli.py",
        PACKAGE / "commandline.py",
        PACKAGE / "job.py",
        *(PACKAGE / "config").glob("*.py"),
        *sweeps,
    }
    offenders = [p for p in PACKAGE.rglob("*.py") if p not in rim and {"hydra", "omegaconf"} & _imports(p)]
    assert not offenders


def test_the_checks_import_no_torch() -> None:
    heavy = {"torch", "timm", "wandb", "numpy", "matplotlib", "einops"}
    rim = [
        PACKAGE / "cli.py",
        PACKAGE / "commandline.py",
        PACKAGE / "job.py",
        PACKAGE / "build.py",
        PACKAGE / "errors.py",
        *(PACKAGE / "sweep" / f"{name}.py" for name in ("__init__", "plan", "question", "record", "twins")),
        *(PACKAGE / "config").glob("*.py"),
    ]
    assert not [p for p in rim if heavy & _imports(p)]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names
