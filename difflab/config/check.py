"""Is every key known, of the right type, and every name one that a file of conf/ or a typed plugin offers?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from ..errors import ConfigError
from .schema import Field, Schema, kind

WORDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "list": "a list [a,b]", "dict": "a mapping {a: b}",
    "inf": "inf",
}  # fmt: skip


def check(config: Mapping[str, Any], schema: Schema, plugins: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration with whole numbers made floats where floats are meant. ConfigError for what no file allows.

    `config` is plain and resolved; `plugins` are the packages typed on the command line or in DIFFLAB_PLUGINS.
    """
    checked: dict[str, Any] = {}
    for key, value in config.items():
        if key in schema.packages:
            checked[key] = _node(key, value, schema, plugins)
        elif key in schema.keys:
            checked[key] = _value(key, value, schema.keys[key])
        else:
            raise ConfigError(unknown_key(key, schema))
    for key in (*schema.packages, *schema.keys):
        if key not in config:
            choose = f"choose {_choices(key, schema)}" if key in schema.packages else "give it a value"
            raise ConfigError(f"{key} is missing from the configuration; {choose}.")
    if undeclared := [p for p in checked["plugins"] if p not in plugins]:
        raise ConfigError(
            f"plugins={undeclared[0]} stands in a file, and files run no code: type plugins=[{undeclared[0]}] on the command line or set "
            "DIFFLAB_PLUGINS."
        )
    return checked


def unknown_key(path: str, schema: Schema, input_line: str | None = None) -> str:
    """One sentence for a key that no file shows, with the nearest that exists."""
    known = list(schema.paths())
    parent, _, last = path.rpartition(".")
    siblings = [k for k in known if k.rpartition(".")[0] == parent]
    near = [k for k in known if k.rpartition(".")[2] == last and k != path][:3]  # the right key, without its group
    near = near or get_close_matches(path, siblings, n=1, cutoff=0.5) or get_close_matches(path, known, n=1, cutoff=0.6)
    where = parent if parent in known else ""
    group = schema.packages.get(parent, "")
    owners = [f"{group}={name}" for name, file in sorted(schema.options.get(group, {}).items()) if last in file.fields]
    if owners:
        remedy = f"it belongs to {listed(owners)}."
    elif near:
        remedy = f"did you mean {' or '.join(near)}?"
    elif where:
        remedy = f"{where} takes {', '.join(k.rpartition('.')[2] for k in siblings)}."
    else:
        remedy = "--help lists the groups and --cfg job every key."
    return f"{input_line or path}: there is no key {path}; {remedy}"


def unknown_option(group: str, value: Any, choices: Iterable[str]) -> str:
    """One sentence for a group option that no file offers."""
    names = sorted(choices)
    near = get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {group}={near[0]}?)" if near else ""
    if not names:
        return f"{group}={value}: there is no group {group}; --help lists them."
    if str(value) == "":
        return f"{group}= is empty; choose {listed(names)}."
    return f"{group}={value}: there is no such option; choose {listed(names)}{hint}."


def listed(names: Sequence[str]) -> str:
    """a, b or c."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def _node(package: str, node: Any, schema: Schema, plugins: Sequence[str]) -> dict[str, Any]:
    group = schema.packages[package]
    if not isinstance(node, Mapping):
        raise ConfigError(f"{package}={show(node)} must be one of the options {_choices(package, schema)}.")
    name_key = schema.name_key(group)
    name = None
    if name_key:
        name = node.get(name_key)
        if isinstance(name, str) and "." in name:
            _plugin(f"{package}.{name_key}", name, plugins)
            return {
                str(k): _finite(f"{package}.{k}", v) for k, v in node.items()
            }  # its own constructor judges its keys
        if name not in schema.names(group):
            names = schema.names(group)
            near = get_close_matches(str(name), names, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ConfigError(
                f"{package}.{name_key}={show(name)} is no variant of {group}; choose {listed(names)}{hint}."
            )
    return _mapping(package, node, schema.fields(group, name), name)


def _mapping(
    path: str, node: Mapping[str, Any], fields: Mapping[str, Field], name: str | None = None
) -> dict[str, Any]:
    for key in node:
        if key not in fields:
            near = get_close_matches(str(key), list(fields), n=1, cutoff=0.5)
            remedy = f"did you mean {path}.{near[0]}?" if near else f"it takes {listed(list(fields)) or 'none'}."
            raise ConfigError(f"there is no key {path}.{key}{f' with {path}={name}' if name else ''}; {remedy}")
    for key in fields:
        if key not in node:
            raise ConfigError(f"{path}.{key} is missing{f' with {path}={name}' if name else ''}; give it a value.")
    return {str(key): _value(f"{path}.{key}", value, fields[key]) for key, value in node.items()}


def worded(value: Any) -> Any:
    """A configuration read from a file as `check` leaves it: infinity is text, which JSON has and an infinity it has not."""
    if isinstance(value, Mapping):
        return {key: worded(item) for key, item in value.items()}
    return "inf" if value == math.inf else value


def _value(path: str, value: Any, field: Field) -> Any:
    if "inf" in field.kinds and worded(value) == "inf":  # the command line reads it as a number, a file as text
        return "inf"
    if isinstance(value, str) and value in ("None", "none", "NULL") and field.null:
        raise ConfigError(f"{path}={value} is text; type {path}=null for no value.")
    if isinstance(value, str) and value == "None":
        raise ConfigError(f"{path}=None is text and no value that {path} takes; it takes {_wanted(field)}.")
    if value is None:
        if not field.null:
            raise ConfigError(f"{path}=null: {path} needs a value, {_wanted(field)}.")
        return None
    if value == "":
        raise ConfigError(f"{path} is empty; it takes {_wanted(field)}.")
    _finite(path, value)
    if field.fields:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={show(value)} must be {WORDS['dict']} with the keys {', '.join(field.fields)}.")
        return _mapping(path, value, field.fields)
    if not field.kinds:
        return value
    given = kind(value)
    if given == "int" and "int" not in field.kinds and "float" in field.kinds:
        return float(value)
    if given not in field.kinds:
        advice = (
            f"""; as text it is written {path}="'{value}'" """.rstrip()
            if "str" in field.kinds and given in ("int", "float", "bool")
            else ""
        )
        raise ConfigError(f"{path}={show(value)} must be {_wanted(field)}{advice}.")
    if isinstance(value, list) and field.items:
        return [_item(f"{path}[{i}]", item, field) for i, item in enumerate(value)]
    return value


def _item(path: str, item: Any, field: Field) -> Any:
    if kind(item) == "int" and "int" not in field.items and "float" in field.items:
        return float(item)
    if kind(item) not in field.items:
        raise ConfigError(f"{path}={show(item)} must be {listed([WORDS.get(k, k) for k in sorted(field.items)])}.")
    return item


def _finite(path: str, value: Any) -> Any:
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(v, float) and not math.isfinite(v) for v in numbers):
        raise ConfigError(f"{path}={show(value)} must be a finite number.")
    return value


def _plugin(key: str, name: str, plugins: Sequence[str]) -> None:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{key}={show(name)} is no module's name.")
    if not any(name.startswith(package + ".") for package in plugins):
        raise ConfigError(
            f"{key}={name} is outside the registry; type plugins=[{name.split('.')[0]}] on the command line or set DIFFLAB_PLUGINS to "
            "allow that package's code."
        )


def _choices(package: str, schema: Schema) -> str:
    group = schema.packages[package]
    key = group if group == package else f"{group}@{package}"
    return listed([f"{key}={name}" for name in schema.options[group]])


def _wanted(field: Field) -> str:
    words = [
        WORDS[k]
        for k in ("int", "float", "bool", "str", "list", "dict", "inf")
        if k in field.kinds and not (k == "int" and "float" in field.kinds)
    ]
    return listed([*(words or ["a value"]), *(["null"] if field.null else [])])


def show(value: Any) -> str:
    """A value as it is typed, in one short line."""
    text = (
        {None: "null", True: "true", False: "false"}.get(value, value)
        if value is None or isinstance(value, bool)
        else value
    )
    line = " ".join(str(text).split())
    return line if len(line) <= 80 else line[:77] + "..."
