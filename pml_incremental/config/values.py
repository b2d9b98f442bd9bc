"""Whether a value from a config suits the parameter it is meant for."""

from __future__ import annotations

import enum
import inspect
import json
import typing
from typing import Any

from pydantic import (
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)
from pydantic.errors import PydanticUndefinedAnnotation

_EMPTY = inspect.Parameter.empty
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    PositiveInt: "a whole number of at least 1",
    NonNegativeInt: "a whole number of at least 0",
    float: "a number",
    str: "text",
}


def find_mismatch(
    parameter: inspect.Parameter, value: Any, trust_default: bool = True
) -> str | None:
    """What is wrong with a value, if anything.

    An annotation decides, read strictly: no text for a number, no number for a boolean, but a list
    for a tuple and an integer for a float. Without one, the value must be of the default's kind.
    """
    if value is None and parameter.default is None:
        return None
    choices = _enum_of(parameter)
    if choices is not None and _member(choices, value) is not None:
        return None
    fits = _fits_annotation(parameter.annotation, value)
    if choices is not None and not fits:
        return _wrong(f"one of {', '.join(choices.__members__)}", value)
    if fits is not None:
        return None if fits else _wrong(_describe(parameter.annotation), value)
    kind = _kind(parameter.default) if trust_default else None
    return _wrong(kind, value) if kind is not None and _kind(value) != kind else None


def as_argument(parameter: inspect.Parameter | None, value: Any) -> Any:
    """A value as the parameter wants it: the names of enum members become the members."""
    choices = _enum_of(parameter) if parameter is not None else None
    found = _member(choices, value) if choices is not None else None
    return value if found is None else found


def _fits_annotation(annotation: Any, value: Any) -> bool | None:
    """None if there is no annotation, or one that means nothing to pydantic."""
    if annotation in (_EMPTY, Any) or isinstance(annotation, str):
        return None
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        # Strict JSON is what a config is: lists may be tuples and strings paths, and no more.
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    except (PydanticUserError, PydanticUndefinedAnnotation):
        return None
    return True


def _enum_of(parameter: inspect.Parameter) -> type[enum.Enum] | None:
    """The enum that a parameter takes, by annotation or default."""
    options = [
        *typing.get_args(parameter.annotation),
        parameter.annotation,
        type(parameter.default),
    ]
    found = [o for o in options if inspect.isclass(o) and issubclass(o, enum.Enum)]
    return found[0] if found else None


def _member(choices: type[enum.Enum], value: Any) -> enum.Enum | None:
    if isinstance(value, str) and value in choices.__members__:
        return choices.__members__[value]
    matching = [member for member in choices if member.value == value]
    return matching[0] if matching else None


def _kind(value: Any) -> str | None:
    """What a plain value is called; None for values that no config can write."""
    if isinstance(value, enum.Enum):
        return None
    kinds: list[tuple[str, Any]] = [
        ("true or false", bool),
        ("a number", (int, float)),
        ("text", str),
        ("a list", (list, tuple)),
        ("a mapping", dict),
    ]
    return next((name for name, types in kinds if isinstance(value, types)), None)


def _describe(annotation: Any) -> str:
    if annotation in _WORDS:
        return _WORDS[annotation]
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _wrong(expected: str, value: Any) -> str:
    return f"must be {expected}, got {value!r} ({type(value).__name__})"
