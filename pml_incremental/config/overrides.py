"""Changing single keys of a config: ``key.sub=value``."""

from __future__ import annotations

from typing import Any

from pml_incremental.config.errors import ConfigError, suggest
from pml_incremental.config.layout import KeyPath, canonical, category_at, is_object
from pml_incremental.config.merge import merge
from pml_incremental.config.yaml_files import parse_yaml

COMMAND_LINE = "command line"


def apply_override(config: dict[str, Any], override: str) -> tuple[dict[str, Any], KeyPath]:
    """A canonical config with one key changed.

    Args:
        config: a canonical config.
        override: ``key.sub=value``; the value is YAML and is laid over what is there as a later
            file would be. Objects are entered by class name, lists by index from 0 or, where they
            hold objects, by class name.

    Returns:
        The new config and the path that was changed.

    Raises:
        ConfigError: if there is no ``=``, the value is no YAML, or the key leads nowhere.

    Example:
        >>> config = {"sampler": {"MPerClassSampler": {"m": 4}}}
        >>> apply_override(config, "sampler.MPerClassSampler.m=8")[0]
        {'sampler': {'MPerClassSampler': {'m': 8}}}
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError([f"{COMMAND_LINE}: {override}: has no key and value; write key=value"])
    try:
        value = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError([f"{COMMAND_LINE}: {key}: {p}" for p in error.problems]) from error
    path = _locate(config, key)
    return _set(config, path, canonical(value, path)), path


def _locate(config: dict[str, Any], dotted: str) -> KeyPath:
    """Keys and indices for a dotted key. Names may hold dots, as ``my_pkg.losses:MyLoss``."""
    node: Any = config
    path: KeyPath = ()
    rest = dotted
    while rest:
        key, rest = _step(node, rest, path)
        path = (*path, key)
        node = _child(node, key)
    return path


def _step(node: Any, rest: str, path: KeyPath) -> tuple[str | int, str]:
    """The next key, which leads from the node onwards, and what follows it."""
    here = ".".join(map(str, path))
    if isinstance(node, list):
        return _step_into_list(node, rest, here)
    if node is not None and not isinstance(node, dict):
        raise _error(here, f"is the value {node!r} and holds no {rest!r}; set {here} itself")
    for known in sorted(map(str, node or ()), key=len, reverse=True):
        if rest == known or rest.startswith(known + "."):
            return known, rest[len(known) + 1 :]
    category = category_at(path)
    if category is not None and is_object(node):
        (name,) = node
        raise _error(
            f"{here}.{rest}",
            f"{here} is a {name}; write {here}.{name}.<argument>=..., or {here}={{ClassName: "
            "{...}} for another class",
        )
    # A class path holds dots before its colon.
    start = rest.index(":") if category is not None and ":" in rest else 0
    end = rest.find(".", start)
    return (rest, "") if end < 0 else (rest[:end], rest[end + 1 :])


def _step_into_list(items: list[Any], rest: str, here: str) -> tuple[int, str]:
    first, _, after = rest.partition(".")
    if first.isdecimal():
        if int(first) >= len(items):
            what = f"{here} has {len(items)} entries, counted from 0"
            raise _error(f"{here}.{first}", f"{what}; set the whole list with {here}=[...]")
        return int(first), after
    names = [next(iter(item)) if is_object(item) else "" for item in items]
    found = [
        index for index, name in enumerate(names) if name and f"{rest}.".startswith(f"{name}.")
    ]
    if len(found) == 1:
        return found[0], rest  # the class name is the key inside the object
    if found:
        raise _error(f"{here}.{rest}", f"is there {len(found)} times; write its index from 0")
    known = [*filter(None, names), *map(str, range(len(items)))]
    raise _error(f"{here}.{first}", f"there is no such entry; {suggest(first, known)}")


def _child(node: Any, key: str | int) -> Any:
    if isinstance(node, list):
        return node[int(key)]
    return (node or {}).get(key)


def _set(node: Any, path: KeyPath, value: Any, done: KeyPath = ()) -> Any:
    """A copy of the node in which the value is laid over what stands at the path."""
    if not path:
        return merge(node, value, done)
    key, *rest = path
    child = _set(_child(node, key), tuple(rest), value, (*done, key))
    if isinstance(node, list):
        return [child if index == key else item for index, item in enumerate(node)]
    return {**(node or {}), key: child}


def _error(key: str, message: str) -> ConfigError:
    return ConfigError([f"{COMMAND_LINE}: {key}: {message}"])
