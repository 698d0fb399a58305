"""The dashboard's command line: print the spec, or push it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ..config.schema import Schema, load_schema
from ..console import outlived
from ..errors import ConfigError, one_line
from . import sections

EPILOG = """\
Without --push nothing is asked of a network: the workspace and the report are printed as they would be sent, as JSON.
Sections: Bound, Terms per t, Variance, Space, Samples, Training, Speed; runs are grouped by their choices, so that a group
is one recipe and its runs are seeds. Every push makes a new view and a new report. For reading offline, `python -m difflab
task=report runs=MULTIRUN_DIR` has the same sections.

examples:
  python -m difflab.dashboard --json dashboard.json
  python -m difflab.dashboard --push --group lr_sweep --by parameterization,schedule
  python -m difflab.dashboard --push --unit nats_per_dim
"""


def main(arguments: list[str] | None = None) -> int:
    try:
        with outlived():
            return _main(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1


def parse(arguments: list[str] | None, project: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m difflab.dashboard",
        description="The W&B workspace and report template for difflab's runs, as code.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--push", action="store_true", help="save both on the W&B server (needs an API key)")
    parser.add_argument(
        "--project", default=project, metavar="P", help="of the runs; default: tracker.project's, %(default)s"
    )
    parser.add_argument("--entity", metavar="E", help="user or team; default: WANDB_ENTITY, else the key's own")
    parser.add_argument(
        "--group", metavar="SWEEP", help="only the runs of this W&B group (tracker.group, or a sweep's name)"
    )
    parser.add_argument(
        "--by",
        metavar="A,B",
        help=f"what runs are grouped by, choices or keys; default: {','.join(map(_short, sections.BY))}",
    )
    parser.add_argument(
        "--unit",
        default="bpd",
        metavar="U",
        help="bpd, or nats_per_dim for runs on continuous data; default: %(default)s",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the spec into this file instead of printing it")
    return parser.parse_args(arguments)


def _main(arguments: list[str] | None) -> int:
    schema = load_schema()
    options = parse(arguments, str(schema.options["tracker"]["wandb"].values["project"]))
    by = _by(options.by, schema)
    if options.unit not in sections.UNITS:
        raise ConfigError(
            f"--unit {options.unit} is not one of {', '.join(sections.UNITS)}; result.json names a run's."
        )
    if not options.project or set(options.project) & set("/\\#?%:"):
        raise ConfigError(
            f"--project {options.project} must be a name without / \\ # ? % : ; --entity takes what stands before the /."
        )
    if options.group == "":
        raise ConfigError("--group is empty; give a sweep's W&B group, or leave it out for all runs of the project.")
    library = _library()
    entity = options.entity or os.environ.get("WANDB_ENTITY") or None

    def make(entity: str) -> list[Any]:
        what = (options.unit, entity, options.project, options.group, by)
        return [library.workspace(*what), library.report(*what)]

    view, report = make(entity or "")
    text = json.dumps({"workspace": library.spec(view), "report": library.spec(report)}, indent=1) + "\n"
    if options.json:
        _write(options.json, text)
        print(options.json)
    elif not options.push:
        print(text, end="")
    if options.push:
        from .push import push

        for what, address in zip(("workspace", "report"), push(entity, make), strict=True):
            print(f"{what} {address}")
        return 0
    other = "" if options.unit != "bpd" else "; runs on continuous data need --unit nats_per_dim"
    print(
        "This is what --push saves on the W&B server of your login (`wandb login`), for runs that are there (`wandb sync RUN_DIR/wandb/*`)"
        f"{other}.",
        file=sys.stderr,
    )
    return 0


def _library() -> Any:
    try:
        from . import workspace
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "wandb_workspaces":
            raise
        raise ConfigError(
            "python -m difflab.dashboard needs wandb-workspaces, which is not installed: pip install 'difflab[dashboard]'."
        ) from None
    return workspace


def _by(given: str | None, schema: Schema) -> tuple[str, ...]:
    """Paths of a run's config: the option chosen of a group, or a key."""
    if given is None:
        return sections.BY
    known, paths = set(schema.paths()), []
    for name in given.split(","):
        if name in schema.options:
            paths.append(f"choices.{name}")
        elif name in known or name.removeprefix("choices.") in schema.options:
            paths.append(name)
        else:
            raise ConfigError(
                f"--by {one_line(given)}: {one_line(name) or 'an empty name'} is neither a group nor a key of a run's configuration; "
                f"for example --by {','.join(map(_short, sections.BY[1:4]))}, or --by optimizer.lr (`difflab --cfg job` shows them)."
            )
    return tuple(dict.fromkeys(paths))


def _short(path: str) -> str:
    return path.removeprefix("choices.")


def _write(path: Path, text: str) -> None:
    from ..files import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(text))
    except OSError as error:
        raise ConfigError(f"--json {path} cannot be written ({error.strerror}); give another file.") from None


if __name__ == "__main__":
    sys.exit(main())
