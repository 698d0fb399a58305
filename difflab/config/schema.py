"""What may stand in a configuration, read from the YAML files themselves: nothing is declared twice.

A key exists because a file of conf/ shows it; its type is the type of the value shown. What a value cannot show
is written at its comment, where the reader looks for them anyway:

    steps: null     # int: length of the chain (null: all T steps)     a null names its type; `list of str`, `str or list`
    T: 1000         # int or inf: steps of the chain                   the word inf beside numbers
    grad_clip: 1.0  # largest gradient norm (null: no clipping)        `null:` says that null is allowed, too
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from ..build import NAME_KEYS

KINDS: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "list": list, "dict": dict}
NODES = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where it is installed: eight times as fast
_KIND = "int|float|bool|str|list of int|list of float|list of str|list|dict|inf"
_TYPED = re.compile(rf"^((?:{_KIND})(?: or (?:{_KIND}))*):")


@dataclass(frozen=True)
class Field:
    """One key: the kinds of value it takes (none: any), whether null is one of them, kinds of a list's items."""

    kinds: frozenset[str]
    null: bool = False
    items: frozenset[str] = frozenset()
    fields: Mapping[str, Field] = field(default_factory=dict)

    def merged(self, other: Field) -> Field:
        """What two files that show the same key allow together."""
        kinds = self.kinds | other.kinds if self.kinds and other.kinds else frozenset[str]()
        return Field(kinds, self.null or other.null, self.items | other.items, merge(self.fields, other.fields))


@dataclass(frozen=True)
class Option:
    """One file of a group: `name` is the variant it chooses (None: the group has no variants, as trainer)."""

    name: str | None
    fields: Mapping[str, Field]
    values: Mapping[str, Any]
    suits: Mapping[str, str]  # options of other groups that this one brings along (a data set names model and decoder)


@dataclass(frozen=True)
class Schema:
    """config.yaml's own keys, the groups by the key their node stands under, and each group's options."""

    keys: Mapping[str, Field]
    packages: Mapping[str, str]
    options: Mapping[str, Mapping[str, Option]]

    def name_key(self, group: str) -> str | None:
        """The key of a node that names its variant; None for groups without variants."""
        named = any(option.name is not None for option in self.options[group].values())
        return NAME_KEYS.get(group, "name") if named else None

    def names(self, group: str) -> list[str]:
        """The variants that the group's files name."""
        return sorted({option.name for option in self.options[group].values() if option.name is not None})

    def fields(self, group: str, name: str | None) -> Mapping[str, Field]:
        """The keys of a variant: presets (several files with one name) add up."""
        result: Mapping[str, Field] = {}
        for option in self.options[group].values():
            if option.name == name:
                result = merge(result, option.fields)
        return result

    def paths(self) -> Iterator[str]:
        """Every key a user can type, dotted."""
        yield from _paths(self.keys, "")
        for package, group in self.packages.items():
            yield package
            names = self.names(group) or [None]
            yield from dict.fromkeys(path for name in names for path in _paths(self.fields(group, name), f"{package}."))


def conf_directory() -> Path:
    """The shipped configuration: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent.parent
    return next((d for d in (here / "conf", here.parent / "conf") if (d / "config.yaml").is_file()), here / "conf")


@cache
def load_schema(conf: Path | None = None) -> Schema:
    """The schema of a conf directory (default: the shipped one)."""
    conf = conf or conf_directory()
    primary, fields = _read(conf / "config.yaml")
    packages = {}
    for entry in primary["defaults"]:
        for key, option in entry.items() if isinstance(entry, dict) else ():
            group, _, package = str(key).partition("@")
            if (
                option is not None and " " not in group
            ):  # not `optional local`, `override hydra/...`, `experiment: null`
                packages[package or group] = group
    keys = {key: value for key, value in fields.items() if key not in ("defaults", "hydra")}
    options = {group: _options(conf / group, group) for group in sorted(set(packages.values()))}
    return Schema(keys, packages, options)


def read_fields(path: Path) -> dict[str, Field]:
    """The keys of one YAML file."""
    return _read(path)[1]


def kind(value: Any) -> str:
    """The kind of a value as KINDS names it ('null' for None)."""
    return "null" if value is None else next((k for k, t in KINDS.items() if type(value) is t), type(value).__name__)


def merge(a: Mapping[str, Field], b: Mapping[str, Field]) -> dict[str, Field]:
    """Both files' keys; a key in both allows what either allows."""
    return {**a, **{key: a[key].merged(value) if key in a else value for key, value in b.items()}}


def _read(path: Path) -> tuple[dict[Any, Any], dict[str, Field]]:
    """(the values, the keys) of one YAML file."""
    values = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(values, dict)
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=NODES)  # once more, for where each value ends: its comment begins there
    return values, _fields(root, values, text.splitlines()) if isinstance(root, yaml.MappingNode) else {}


def _options(directory: Path, group: str) -> dict[str, Option]:
    return {path.stem: _option(path, group) for path in sorted(directory.glob("*.yaml"))}


def _option(path: Path, group: str) -> Option:
    values, fields = _read(path)
    values = {str(key): value for key, value in values.items()}
    suits = {}
    fields.pop("defaults", None)
    for entry in values.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":  # a preset that builds on a sibling
            parent = _option(path.with_name(f"{entry}.yaml"), group)
            fields, values, suits = merge(parent.fields, fields), {**parent.values, **values}, {**parent.suits, **suits}
        elif isinstance(entry, dict):
            for key, value in entry.items():
                word, _, other = str(key).partition(" /")
                suits |= {other.partition("@")[0]: str(value)} if word == "override" else {}
    name_key = NAME_KEYS.get(group, "name")
    name = values.get(name_key)
    if name is not None:
        fields[name_key] = replace(fields[name_key], kinds=frozenset({"str"}))
    return Option(None if name is None else str(name), fields, values, suits)


def _fields(root: yaml.MappingNode, values: Mapping[Any, Any], lines: list[str]) -> dict[str, Field]:
    fields = {}
    for key_node, node in root.value:
        key = str(key_node.value)
        fields[key] = _field(node, values[key_node.value], lines)
    return fields


def _field(node: yaml.Node, value: Any, lines: list[str]) -> Field:
    mark = node.end_mark
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    comment = rest.partition("#")[2].strip() if not isinstance(node, yaml.MappingNode) or node.flow_style else ""
    typed = _TYPED.match(comment)
    words = typed.group(1).split(" or ") if typed else []
    kinds = frozenset(word.partition(" ")[0] for word in words)
    items = frozenset(word.removeprefix("list of ") for word in words if word.startswith("list of "))
    if value is not None:
        kinds |= {kind(value)}
    null = value is None or bool(re.search(r"\bnull:", comment))
    if isinstance(value, dict) and value and isinstance(node, yaml.MappingNode):
        return Field(kinds, null, fields=_fields(node, value, lines))
    if isinstance(value, list):
        items |= {kind(item) for item in value}
    return Field(kinds, null, items)


def _paths(fields: Mapping[str, Field], prefix: str) -> Iterator[str]:
    for key, value in fields.items():
        yield prefix + key
        yield from _paths(value.fields, f"{prefix}{key}.")
