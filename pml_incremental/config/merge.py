"""Laying config files over each other, remembering where each key came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pml_incremental.config.layout import KeyPath, category_at, children, is_object


@dataclass(eq=False)
class Origins:
    """The file, or the command line, that each key of a config came from.

    All instances compare equal: where a config came from is no part of what it says.
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
