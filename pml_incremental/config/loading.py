"""A config from files and overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pml_incremental.config.errors import ConfigError, suggest
from pml_incremental.config.import_checks import find_import_problems
from pml_incremental.config.layout import KeyPath, canonical, category_at, is_object
from pml_incremental.config.schema import ExperimentConfig, Section
from pml_incremental.config.trunk_transforms import with_written_transforms
from pml_incremental.config.validation import find_problems, report
from pml_incremental.config.yaml_files import Origins, merge, parse_yaml, read_yaml

_SECTIONS: dict[KeyPath, type[Section]] = {
    (): ExperimentConfig,
    **{
        (key,): field.annotation
        for key, field in ExperimentConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    },
}

COMMAND_LINE = "command line"


def load_config(paths: Sequence[Path], overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The config that files and overrides describe together.

    Later files override earlier ones, overrides change all of them: mappings merge key by key,
    an object of another class replaces, lists and single values replace. The classes and arguments
    of objects are checked by :func:`~pml_incremental.config.validate`.

    Args:
        paths: YAML files, at least one.
        overrides: ``key.sub=value``.

    Returns:
        The config. Its name, if none is given, is that of the first file without suffix.

    Raises:
        ConfigError: with one line for each problem, naming the file (or the command line) and the
            key. If keys are wrong, wrong classes and arguments are reported along with them.
    """
    if not paths:
        raise ConfigError(["no config file is given; name at least one .yaml file"])
    paths = [Path(path) for path in paths]
    name = {"name": paths[0].stem}
    layers = [(f"{paths[0]} (the file's name)", name), *_read_layers(paths)]
    return config_from(layers, overrides, ", ".join(map(str, paths)))


def config_from(
    layers: Sequence[tuple[str, dict[str, Any]]], overrides: Sequence[str], whole: str
) -> ExperimentConfig:
    """The config that layers of plain values and overrides describe together.

    Args:
        layers: where each comes from, for messages, and its values.
        overrides: ``key.sub=value``, which change all of them.
        whole: where keys are missing from, for messages.

    Returns:
        The config; see :func:`load_config` for how layers override each other.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    config, origins = _lay_over(layers, overrides, Origins(whole))
    forbidden = list(find_import_problems(config))
    if forbidden:
        raise report(forbidden, origins)
    config = with_written_transforms(config)
    try:
        return ExperimentConfig.model_validate(config).with_origins(origins)
    except ValidationError as error:
        problems = describe_schema_errors(error, config)
        raise report([*problems, *find_problems(config)], origins) from error


def _read_layers(paths: Sequence[Path]) -> list[tuple[str, dict[str, Any]]]:
    layers: list[tuple[str, dict[str, Any]]] = []
    problems: list[str] = []
    for path in paths:
        try:
            layers.append((str(path), read_yaml(path)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return layers


def _lay_over(
    layers: Sequence[tuple[str, dict[str, Any]]], overrides: Sequence[str], origins: Origins
) -> tuple[dict[str, Any], Origins]:
    config: dict[str, Any] = {}
    for origin, values in layers:
        layer = canonical(values)
        config = merge(config, layer)
        for key, value in layer.items():
            origins.add(value, (key,), origin)
    problems: list[str] = []
    for override in overrides:
        try:
            config, changed = apply_override(config, override)
        except ConfigError as error:
            problems += error.problems
            continue
        for length in range(1, len(changed)):
            origins.known.setdefault(changed[:length], COMMAND_LINE)
        origins.add(_value_at(config, changed), changed, COMMAND_LINE)
    if problems:
        raise ConfigError(problems)
    origins.forget_all_but(config)
    return config, origins


def _value_at(config: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        config = config[key]
    return config


def apply_override(config: dict[str, Any], override: str) -> tuple[dict[str, Any], KeyPath]:
    """A canonical config with one key changed."""
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
    """A copy of the node with the value set at the path."""
    if not path:
        return merge(node, value, done)
    key, *rest = path
    child = _set(_child(node, key), tuple(rest), value, (*done, key))
    if isinstance(node, list):
        return [child if index == key else item for index, item in enumerate(node)]
    return {**(node or {}), key: child}


def _error(key: str, message: str) -> ConfigError:
    return ConfigError([f"{COMMAND_LINE}: {key}: {message}"])


def describe_schema_errors(
    error: ValidationError, config: dict[str, Any]
) -> list[tuple[KeyPath, str]]:
    """What keys are missing, unknown or of a wrong type."""
    found: dict[KeyPath, list[str]] = {}
    for details in error.errors(include_url=False):
        path = _path_in(config, details["loc"], missing=details["type"] == "missing")
        message = _describe(details, path)
        if message not in found.setdefault(path, []):
            found[path].append(message)
    return [(path, " or ".join(messages)) for path, messages in found.items()]


def _path_in(config: Any, location: KeyPath, missing: bool) -> KeyPath:
    """Pydantic's location without what it adds for the members of a union."""
    path: KeyPath = ()
    for key in location[:-1] if missing else location:
        try:
            config = config[key]
        except (KeyError, IndexError, TypeError):
            break
        path = (*path, key)
    return (*path, location[-1]) if missing else path


def _describe(details: ErrorDetails, path: KeyPath) -> str:
    kind, got = details["type"], details["input"]
    if kind == "extra_forbidden":
        known = _SECTIONS[path[:-1]].model_fields
        return f"unknown key; {suggest(str(path[-1]), known)}"
    if kind == "missing":
        return "is missing; add it"
    if path == ("name",) and kind == "string_pattern_mismatch":
        return f"{got!r} may hold only letters, digits, '_' and '-'; set name to something else"
    if path == ("device",) and kind == "string_pattern_mismatch":
        return f"{got!r} is not a device; write auto, cpu, mps, cuda or cuda:<index>"
    if kind == "path_type":
        return f"should be the path of a folder, got {got!r}"
    if kind == "value_error":
        return details["msg"].removeprefix("Value error, ")
    return f"{details['msg'].removeprefix('Input ')}, got {got!r}"
