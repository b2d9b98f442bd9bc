"""What there is to choose in a strategy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pml_incremental.config import ConfigError, ObjectSpec, resolve
from pml_incremental.config.signatures import signature_of
from pml_incremental.config.strategy_sums import is_sum, split_sum

# How far from its centre a number is searched, as a factor.
_WEIGHT_REACH, _OTHER_REACH = 10.0, 4.0


@dataclass(frozen=True)
class Range:
    """A positive number, searched evenly in its logarithm."""

    low: float
    high: float


def search_space(spec: ObjectSpec) -> dict[str, Range]:
    """The numbers of a strategy that say how hard it holds, and where to look for them.

    Weights are searched from a tenth to ten times, temperatures and ``lose_at_most`` from a quarter
    to four times of what the config says or, where it says nothing, of the default.
    """
    space = {}
    for prefix, name, options in _parts(spec):
        for key, parameter in signature_of(resolve("strategy", name)).parameters.items():
            reach = _reach(key)
            centre = options.get(key, parameter.default)
            if reach is not None and centre is not None:
                if not centre > 0:
                    raise ConfigError(
                        [f"{spec.class_name}: {key} is {centre}: nothing can be searched around it"]
                    )
                space[prefix + key] = Range(centre / reach, centre * reach)
    if not space:
        raise ConfigError(
            [f"{spec.class_name} has no weight, temperature or lose_at_most to search"]
        )
    return space


def with_values(spec: ObjectSpec, values: Mapping[str, float]) -> ObjectSpec:
    """A strategy with numbers found in its search space."""
    kwargs: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in spec.kwargs.items()
    }
    for name, value in values.items():
        part, dot, key = name.rpartition(".")
        (kwargs.setdefault(part, {}) if dot else kwargs)[key] = value
    return ObjectSpec(class_name=spec.class_name, kwargs=kwargs)


def _parts(spec: ObjectSpec) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Prefix, name and options of the strategy or of each part of a sum."""
    if not is_sum("strategy", spec.class_name):
        yield "", spec.class_name, spec.kwargs
        return
    for name, options in split_sum(spec.class_name, spec.kwargs):
        yield f"{name}.", name, options


def _reach(key: str) -> float | None:
    if key == "weight" or key.endswith("_weight"):
        return _WEIGHT_REACH
    return _OTHER_REACH if key in ("temperature", "lose_at_most") else None
