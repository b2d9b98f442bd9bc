"""Which arguments a class or function takes, and whether a value suits one of them."""

from __future__ import annotations

import ast
import enum
import inspect
import json
import textwrap
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import Parameter
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

_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Signature:
    """The arguments that can be passed by name."""

    parameters: dict[str, Parameter] = field(default_factory=dict)
    is_open: bool = False  # whether there may be arguments of other names, which cannot be known

    @property
    def required(self) -> list[str]:
        """Names without a default."""
        return [name for name, p in self.parameters.items() if p.default is Parameter.empty]


class WholeSignature:
    """As ``__signature__`` of a class: what ``help`` and editors show in place of ``**kwargs``."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")  # of an instance, it is that of its __call__
        found = signature_of(owner)
        own = inspect.signature(owner.__init__).parameters  # type: ignore[misc]
        forwards = any(p.kind is Parameter.VAR_POSITIONAL for p in own.values())
        by_place = [
            p
            for p in found.parameters.values()
            if p.kind is _NAMED[0] and (forwards or p.name in own)
        ]
        by_name = [
            p.replace(kind=Parameter.KEYWORD_ONLY)
            for p in found.parameters.values()
            if p not in by_place
        ]
        others = [Parameter("kwargs", Parameter.VAR_KEYWORD)] if found.is_open else []
        by_place.sort(key=lambda p: p.default is not Parameter.empty)
        return inspect.Signature([*by_place, *by_name, *others])


def signature_of(target: Callable[..., Any]) -> Signature:
    """The named arguments of a callable.

    The ``**kwargs`` of an ``__init__`` stand for the arguments of the next class in the method
    resolution order, without those that ``super().__init__(...)`` sets itself. The ``**kwargs`` of
    a function stand for the optional arguments of the class that it is annotated to return.
    """
    return _of_class(target) if inspect.isclass(target) else _of_function(target)


def _of_class(target: type) -> Signature:
    if not any("__init__" in vars(owner) for owner in target.__mro__[:-1]):  # but __new__
        return _of_function(target)
    parameters: dict[str, Parameter] = {}
    taken: set[str] = set()
    positions = 0
    for owner in target.__mro__[:-1]:
        init = owner.__dict__.get("__init__")
        if init is None:
            continue
        found = _parameters(init)
        if found is None:
            return Signature(parameters, is_open=True)
        for parameter in _named(found[1:])[positions:]:
            if parameter.name not in taken:
                parameters.setdefault(parameter.name, parameter)
        if not _takes_any(found):
            return Signature(parameters)
        source = read_init(init)
        if source is not None:
            _add_read(source, parameters)
            if not source.forwards:
                return Signature(parameters, is_open=True)
            taken |= source.passed
            positions = source.positions
    return Signature(parameters)


def _add_read(source: InitSource, parameters: dict[str, Parameter]) -> None:
    """Add the arguments that are taken out of ``**kwargs`` by name."""
    for name in sorted(source.required | source.optional):
        default = Parameter.empty if name in source.required else None
        parameters.setdefault(name, Parameter(name, Parameter.KEYWORD_ONLY, default=default))


def _of_function(target: Callable[..., Any]) -> Signature:
    found = _parameters(target)
    if found is None:
        return Signature(is_open=True)
    parameters = {parameter.name: parameter for parameter in _named(found)}
    if not _takes_any(found):
        return Signature(parameters)
    returned = _hints(target).get("return")
    built = _of_class(returned) if inspect.isclass(returned) else Signature(is_open=True)
    optional = {k: p for k, p in built.parameters.items() if k not in built.required}
    # An abstract return type, such as nn.Module, says nothing about the arguments.
    return Signature({**optional, **parameters}, is_open=built.is_open or not optional)


def _parameters(function: Callable[..., Any]) -> list[Parameter] | None:
    """Parameters with evaluated annotations, or None for what has no signature in Python."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return None
    hints = _hints(function)
    return [
        p.replace(annotation=hints.get(p.name, p.annotation)) for p in signature.parameters.values()
    ]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # names that exist for type checkers only
        return {}


def _named(parameters: list[Parameter]) -> list[Parameter]:
    return [parameter for parameter in parameters if parameter.kind in _NAMED]


def _takes_any(parameters: list[Parameter]) -> bool:
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)


@dataclass(frozen=True)
class InitSource:
    """What becomes of the arguments of an ``__init__`` that takes ``**kwargs``."""

    passed: frozenset[str]  # names of the arguments that it passes to the next ``__init__`` itself
    positions: int  # how many arguments it passes by position
    forwards: bool  # whether it passes ``**kwargs`` on
    required: frozenset[str]  # names that it reads as ``kwargs["name"]``
    optional: frozenset[str]  # names that it reads by ``kwargs.get`` or ``kwargs.pop``


def read_init(init: Callable[..., Any]) -> InitSource | None:
    """Read the source of an ``__init__``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return None
    calls = [
        (node, node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    inits = [(call, func.value) for call, func in calls if func.attr == "__init__"]
    keywords = [keyword.arg for call, _ in inits for keyword in call.keywords]
    kwargs = inspect.getfullargspec(init).varkw
    read = [
        call.args[0]
        for call, func in calls
        if func.attr in ("get", "pop") and _is_name(func.value, kwargs) and call.args
    ]
    indexed = [
        node.slice
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and _is_name(node.value, kwargs)
    ]
    return InitSource(
        passed=frozenset(name for name in keywords if name is not None),
        positions=max((_count_positions(*init_call) for init_call in inits), default=0),
        forwards=None in keywords,
        required=_constants(indexed),
        optional=_constants(read),
    )


def _count_positions(call: ast.Call, owner: ast.expr) -> int:
    """Arguments by position; in ``Base.__init__(self, ...)`` the first is no argument."""
    plain = [argument for argument in call.args if not isinstance(argument, ast.Starred)]
    return len(plain) if isinstance(owner, ast.Call) else max(0, len(plain) - 1)


def _is_name(node: ast.expr, name: str | None) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _constants(nodes: list[ast.expr]) -> frozenset[str]:
    return frozenset(
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


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
