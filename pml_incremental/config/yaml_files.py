"""Reading and writing YAML: YAML 1.1 with ``1e-4`` as a number and no silent surprises."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

from pml_incremental.config.errors import ConfigError, nearest, suggest
from pml_incremental.config.layout import KeyPath, category_at, children, is_object

YAML_SUFFIXES = (".yaml", ".yml")
_TAG = "tag:yaml.org,2002:"
# YAML 1.1 wants a point in every float, takes 2024-01-01 for a date and refuses a lone "=".
_REPLACED_TAGS = (_TAG + "float", _TAG + "timestamp", _TAG + "value")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
    r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
_LINE_BREAKS = re.compile("[\x85\u2028\u2029]")
_LARGEST = 100_000
_PLAIN_TAGS = {_TAG + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map")}


def _implicit_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    resolvers = {
        first: [(tag, pattern) for tag, pattern in entries if tag not in _REPLACED_TAGS]
        for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+.0123456789":
        resolvers.setdefault(first, []).append((_TAG + "float", _FLOAT))
    return resolvers


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _implicit_resolvers()
    # Without the constructors of sets, binary data and so on, those tags are errors.
    yaml_constructors: ClassVar[dict[str | None, Callable[..., Any]]] = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in _PLAIN_TAGS
    }

    def construct_document(self, node: yaml.Node) -> Any:
        """Construct depth first, which refuses a node that holds itself."""
        _check_size(node)
        return self.construct_object(node, deep=True)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that is there twice: the first would be lost."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "merge":
                continue
            if key.value in seen:
                raise ConstructorError(None, None, f"{key.value!r} appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _check_size(root: yaml.Node) -> None:
    """Refuse aliases of aliases of aliases, which a few lines make larger than any memory."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 1  # a node that holds itself is refused elsewhere
            pairs = node.value if isinstance(node, yaml.CollectionNode) else ()
            inner = [part for item in pairs for part in (item if type(item) is tuple else (item,))]
            sizes[id(node)] = 1 + sum(map(size, inner))
        return sizes[id(node)]

    if size(root) > _LARGEST:
        raise ConstructorError(
            None, None, f"holds more than {_LARGEST} values, counting aliases", root.start_mark
        )


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _implicit_resolvers()

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def parse_yaml(text: str) -> Any:
    """Plain values from YAML text.

    Args:
        text: one YAML document.

    Returns:
        None, booleans, numbers, strings, and lists and dicts of them.

    Raises:
        ConfigError: for a syntax error or a key that is there twice, with line and column.

    Example:
        >>> parse_yaml("{lr: 1e-4, day: 2024-01-01}")
        {'lr': 0.0001, 'day': '2024-01-01'}
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader with fewer constructors
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError([f"{place}{error.problem or error.context}; correct the YAML"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"not readable as YAML: {error}".replace("\n", " ")]) from error
    except RecursionError as error:
        raise ConfigError(["nested too deeply; a config needs about ten levels"]) from error
    except (ValueError, KeyError) as error:  # such as "!!int x" and "!!bool x"
        raise ConfigError([f"a tagged value cannot be read: {error}; drop the tag"]) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        path: a file of UTF-8 text.

    Returns:
        What the file says, not empty.

    Raises:
        ConfigError: naming the file, if it is missing, empty, no valid YAML or no mapping.
    """
    if not path.is_file():
        raise ConfigError([f"{path}: {_missing(path)}"])
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text: {error}; save it as UTF-8"]) from error
    except ConfigError as error:
        raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from error
    if not content and not isinstance(content, list):
        raise ConfigError([f"{path}: is empty; write keys such as 'dataset: ...'"])
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else f"the value {content!r}"
        raise ConfigError([f"{path}: holds {kind}; write a mapping, 'key: value'"])
    return content


def _missing(path: Path) -> str:
    """What is there in place of a file."""
    if path.is_dir():
        return "is a folder; name a .yaml file"
    if not path.parent.is_dir():
        return f"there is no such file, and no folder {path.parent}; correct the path"
    names = [other.name for other in path.parent.iterdir() if other.suffix in YAML_SUFFIXES]
    if not names:
        return "there is no such file, and no other .yaml file next to it; correct the path"
    near = nearest(path.name, names)
    if near is None:
        return f"there is no such file; {suggest(path.name, names)}"
    return f"there is no such file; did you mean '{path.with_name(near)}'?"


def dump_yaml(values: Any, compact: bool = False) -> str:
    """YAML text that :func:`parse_yaml` reads back as the same values.

    Args:
        values: None, booleans, numbers, strings, and lists and dicts of them.
        compact: write the innermost lists and dicts in one line each.

    Returns:
        YAML in block style, keys in the order given.

    Example:
        >>> print(dump_yaml({"lr": 1e-4, "text": "1e-4"}), end="")
        lr: 0.0001
        text: '1e-4'
    """

    def dump(allow_unicode: bool) -> str:
        text: str = yaml.dump(
            values,
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=allow_unicode,
            default_flow_style=None if compact else False,
        )
        return text

    text = dump(allow_unicode=True)
    # Unless escaped, these are line breaks, which YAML changes within quotes.
    return dump(allow_unicode=False) if _LINE_BREAKS.search(text) else text


@dataclass(eq=False)
class Origins:
    """The file, or the command line, that each key of a config came from.

    All instances compare equal: where a config came from is not part of what it says.
    """

    default: str = "config"  # the origin of a key that none of ``known`` leads to
    known: dict[KeyPath, str] = field(default_factory=dict)  # origin by path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origins)

    __hash__ = None  # type: ignore[assignment]

    def of(self, path: KeyPath) -> str:
        """The origins of a key and of what it holds or, if it is missing, of what it misses in."""
        if path in self.known:
            parts = [of for key, of in self.known.items() if key[: len(path)] == path]
            return ", ".join(dict.fromkeys([self.known[path], *parts]))
        for length in range(len(path) - 1, 0, -1):
            if path[:length] in self.known:
                return self.known[path[:length]]
        return self.default

    def add(self, value: Any, path: KeyPath, origin: str) -> None:
        """Note that a value, with all that it holds, came from somewhere."""
        self.known.update(dict.fromkeys(_paths(value, path), origin))

    def with_all_of(self, key: str, origin: str) -> Origins:
        """The same, but for a key of the top and all that it holds, which came from one place."""
        others = {path: of for path, of in self.known.items() if path[0] != key}
        return Origins(self.default, {**others, (key,): origin})

    def forget_all_but(self, config: Any) -> None:
        """Forget the keys that a config no longer has, because others replaced them."""
        there = set(_paths(config))
        self.known = {path: of for path, of in self.known.items() if path in there}


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of a value and those of all that it holds."""
    yield path
    for key, item in children(value):
        yield from _paths(item, (*path, key))


def merge(base: Any, new: Any, path: KeyPath = ()) -> Any:
    """The new value over the base one.

    Mappings are merged key by key. An object of another class replaces the base one, with its
    arguments; of the same class, the arguments are merged. Everything else replaces.
    """
    if not isinstance(base, dict) or not isinstance(new, dict):
        return new
    stands_object = category_at(path) is not None and (is_object(base) or is_object(new))
    if stands_object and base.keys() != new.keys():
        return new
    merged = {
        key: merge(base[key], value, (*path, key)) if key in base else value
        for key, value in new.items()
    }
    return {**base, **merged}
