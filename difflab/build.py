"""From configuration to objects: the folders are the registry.

`conf/<group>/<name>.yaml` names a module of `difflab/<group>/`; that module holds one public class derived from the
abstract class in the group's `base.py`. Its keyword-only parameters are the YAML's values (the YAML is the only place
of defaults), its positional parameters are derived from the rest of the run and filled in by name:

    class Cosine(Schedule):
        def __init__(self, *, T: int, s: float, max_beta: float, zero_terminal: bool): ...

So a new variant is one Python file and one YAML; nothing here, or anywhere else, is edited.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .errors import ConfigError

# Groups whose variant is not called `name`: users type bound.method, and tracker.name is the run's own name.
NAME_KEYS = {"bound": "method", "tracker": "kind"}


def variant(group: str, name: str) -> type:
    """The class that `difflab/<group>/<name>.py` defines (a dotted `name` is a plugin's module).

    Raises ConfigError if there is no such module or it defines no variant of the group.
    """
    module_name = name if "." in name else f"difflab.{group}.{name}"
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ConfigError(
                f"{group}={name}: there is no module {module_name}; see conf/{group}/ for the choices."
            ) from error
        raise
    base_module = import_module(f"difflab.{group}.base").__name__
    found = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and not key.startswith("_")
        and any(parent.__module__ == base_module for parent in value.__mro__[1:])
    ]
    if len(found) != 1:
        raise ConfigError(
            f"{group}={name}: {module_name} defines {len(found)} variants of {group}, it must define one."
        )
    return found[0]


def parameters(cls: type) -> tuple[list[str], list[str]]:
    """(context names, configuration keys) of a variant's constructor."""
    signature = inspect.signature(cls)
    kinds = {name: p.kind for name, p in signature.parameters.items()}
    context = [n for n, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    keys = [n for n, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY]
    return context, keys


def build(group: str, node: Mapping[str, Any], under: str | None = None, **context: Any) -> Any:
    """The variant that `node` (a plain mapping: the group's part of the configuration) describes. `under`: the key that the
    node stands under, if not the group's name, for what is refused."""
    name_key = NAME_KEYS.get(group, "name")
    cls = variant(group, str(node[name_key]))
    wanted, keys = parameters(cls)
    values = {str(key): value for key, value in node.items() if key != name_key}
    if unknown := sorted(set(values) - set(keys)):
        raise ConfigError(
            f"{group}.{unknown[0]} is no key of {group}={node[name_key]}; it takes {', '.join(keys) or 'no keys'}."
        )
    if missing := sorted(set(keys) - set(values)):
        raise ConfigError(f"{group}.{missing[0]} is missing; conf/{group}/{node[name_key]}.yaml shows its value.")
    try:
        return cls(**{name: context[name] for name in wanted}, **values)
    except ConfigError as error:
        if under is None:
            raise
        raise type(error)(re.sub(rf"\b{group}\.", f"{under}.", str(error))) from error
