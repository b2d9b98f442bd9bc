"""Sums of strategies: ``correlation+ewc``, with options for each part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from operator import add
from typing import Any

from pml_incremental.config.errors import ConfigError, suggest


def is_sum(category: str, name: str) -> bool:
    """Whether a name stands for a sum."""
    return category == "strategy" and "+" in name


def split_sum(name: str, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a sum, each with its options."""
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
    """A function that builds a sum from the options of its parts."""
    factories = {part: find(part) for part, _ in split_sum(name, {})}

    def build(**options: Any) -> Any:
        return reduce(add, (factories[part](**kw) for part, kw in split_sum(name, options)))

    return build


def _repeated(parts: list[str]) -> list[str]:
    return sorted({part for part in parts if parts.count(part) > 1})
