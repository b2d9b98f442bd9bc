"""Where in a config objects stand, and of which category."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

KeyPath = tuple[str | int, ...]

# "*" is any key or index.
_TOP: dict[str, str] = {
    "dataset": "dataset",
    "scenario": "scenario",
    "transforms.*.*": "transform",
    "models.adapter": "adapter",
    "models.*": "model",
    "loss_funcs.*": "loss",
    "mining_funcs.*": "miner",
    "sampler": "sampler",
    "optimizers.*": "optimizer",
    "lr_schedulers.*": "lr_scheduler",
    "trainer": "trainer",
    "tester": "tester",
    "records.writers.*": "record_writer",
    "strategies.*": "strategy",
}
# Arguments that are objects themselves, whichever class takes them.
NESTED: dict[str, str] = {
    "distance": "distance",
    "reducer": "reducer",
    "default_reducer": "reducer",
    "reducers.*": "reducer",
    "embedding_regularizer": "regularizer",
    "weight_regularizer": "regularizer",
    "loss": "loss",
    "losses.*": "loss",
    "miner": "miner",
    "miners.*": "miner",
    "transforms.*": "transform",
}
_LISTS = ("strategies", "transforms.*", "records.writers")


def category_at(path: KeyPath, positions: Mapping[str, str] = _TOP) -> str | None:
    """The category of the object that stands at a place in a config."""
    for pattern, category in positions.items():
        length = pattern.count(".") + 1
        if _matches(path[:length], pattern):
            inside = path[length:]  # class name, argument, ...
            return category_at(inside[1:], NESTED) if inside else category
    return None


def canonical(value: Any, path: KeyPath = ()) -> Any:
    """The one form of a config that the rest of the code works on.

    Objects become ``{ClassName: {kwargs}}``, also when written ``ClassName`` or ``{ClassName: }``;
    transforms, strategies and writers become lists of objects, also when written as a mapping. What
    is malformed stays as it is, for the schema to report.
    """
    if any(_matches(path, pattern) for pattern in _LISTS) and isinstance(value, dict):
        value = [{name: arguments} for name, arguments in value.items()]
    if category_at(path) is not None:
        value = _as_object(value)
    if isinstance(value, dict):
        return {key: canonical(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item, (*path, index)) for index, item in enumerate(value)]
    return value


def canonical_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an object with the objects among them in canonical form."""
    anywhere: KeyPath = ("dataset", "")  # arguments mean the same in objects of any category
    return {name: canonical(value, (*anywhere, name)) for name, value in kwargs.items()}


def is_object(value: Any) -> TypeGuard[dict[str, dict[str, Any]]]:
    """Whether a value has the canonical form of an object."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and all(isinstance(name, str) and isinstance(kw, dict) for name, kw in value.items())
    )


def find_objects(
    value: Any, path: KeyPath = ()
) -> Iterator[tuple[KeyPath, str, str, dict[str, Any]]]:
    """All well-formed objects of a canonical config, outer before inner."""
    category = category_at(path)
    if category is not None and is_object(value):
        ((name, kwargs),) = value.items()
        yield path, category, name, kwargs
    for key, item in children(value):
        yield from find_objects(item, (*path, key))


def children(value: Any) -> Iterable[tuple[Any, Any]]:
    """Keys or indices of a value with what they hold; none for a single value."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _as_object(value: Any) -> Any:
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict) and list(value.values()) == [None]:
        return {name: {} for name in value}
    return value


def _matches(path: KeyPath, pattern: str) -> bool:
    parts = pattern.split(".")
    return len(path) == len(parts) and all(
        part in ("*", key) for part, key in zip(parts, path, strict=True)
    )
