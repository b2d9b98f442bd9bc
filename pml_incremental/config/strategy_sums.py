"""Sums of strategies: ``correlation+ewc``, with options for each part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from operator import add
from typing import Any

from pml_incremental.config.errors import ConfigError, suggest


def is_sum(category: str, name: str) -> bool:
    """Whether a name stands for a sum.

    Example:
        >>> is_sum("strategy", "correlation+ewc"), is_sum("strategy", "ewc")
        (True, False)
    """
    return category == "strategy" and "+" in name


def split_sum(name: str, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a sum, each with its options.

    Args:
        name: the parts' names joined by ``+``.
        kwargs: part -> options; a part may be missing.

    Yields:
        Name and options of each part.

    Raises:
        ConfigError: if a part is there twice, or options are for none of the parts or no mapping.

    Example:
        >>> list(split_sum("correlation+ewc", {"ewc": {"weight": 5}}))
        [('correlation', {}), ('ewc', {'weight': 5})]
    """
    parts = [part.strip() for part in name.split("+")]
    problems = [f"{part!r} is in {name} twice; remove one" for part in _repeated(parts)]
    for key, options in kwargs.items():
        if key not in parts:
            where = f"write {name}: {{{parts[0]}: {{...}}}}"
            problems.append(f"{key!r} is no part of {name}; {suggest(key, parts)}; {where}")
        elif options is not None and not isinstance(options, dict):
            problems.append(f"the options of {key} must be a mapping, got {options!r}")
    if problems:
        raise ConfigError(problems)
    for part in parts:
        yield part, kwargs.get(part) or {}


def sum_factory(name: str, find: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    """A function that builds a sum from the options of its parts.

    Args:
        name: the parts' names joined by ``+``.
        find: gives the function that builds a part.

    Returns:
        A function of part -> options.
    """
    factories = {part: find(part) for part, _ in split_sum(name, {})}

    def build(**options: Any) -> Any:
        return reduce(add, (factories[part](**kw) for part, kw in split_sum(name, options)))

    return build


def _repeated(parts: list[str]) -> list[str]:
    return sorted({part for part in parts if parts.count(part) > 1})
