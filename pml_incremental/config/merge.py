"""Laying config files over each other, remembering where each key came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pml_incremental.config.layout import KeyPath, category_at, children, is_object


@dataclass(eq=False)
class Origins:
    """The file, or the command line, that each key of a config came from.

    All instances compare equal: where a config came from is no part of what it says.

    Args:
        default: the origin of a key that none of ``known`` leads to.
        known: origin by path.

    Example:
        >>> Origins("a.yaml", {("dataset",): "b.yaml"}).of(("dataset", "Glyphs"))
        'b.yaml'
    """

    default: str = "config"
    known: dict[KeyPath, str] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origins)

    __hash__ = None  # type: ignore[assignment]

    def of(self, path: KeyPath) -> str:
        """The origins of a key and of what it holds or, if it is missing, of what it misses in."""
        if path in self.known:
            return ", ".join(dict.fromkeys([self.known[path], *self._below(path).values()]))
        return self.of(path[:-1]) if path else self.default

    def add(self, value: Any, path: KeyPath, origin: str) -> None:
        """Note that a value, with all that it holds, came from somewhere."""
        if not isinstance(value, dict):  # only mappings are merged, others replace
            for replaced in self._below(path):
                del self.known[replaced]
        self.known[path] = origin
        for key, item in children(value):
            self.add(item, (*path, key), origin)

    def _below(self, path: KeyPath) -> dict[KeyPath, str]:
        length = len(path)
        return {k: of for k, of in self.known.items() if len(k) > length and k[:length] == path}


def merge(base: Any, new: Any, path: KeyPath = ()) -> Any:
    """The new value over the base one.

    Mappings are merged key by key. An object of another class replaces the base one, with its
    arguments; of the same class, the arguments are merged. Everything else replaces.

    Args:
        base: a canonical config or a part of one.
        new: what is laid over it, canonical.
        path: where both stand.

    Returns:
        A new value.

    Example:
        >>> merge({"sampler": {"A": {"m": 4}}}, {"sampler": {"A": {"n": 1}}, "seed": 1})
        {'sampler': {'A': {'m': 4, 'n': 1}}, 'seed': 1}
        >>> merge({"sampler": {"A": {"m": 4}}}, {"sampler": {"B": {}}})
        {'sampler': {'B': {}}}
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
