"""Which arguments a class or function takes, following ``**kwargs`` to where they end."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Signature:
    """The arguments that can be passed by name.

    Args:
        parameters: by name, with their annotations evaluated where possible.
        is_open: whether there may be arguments of other names, which cannot be known.
    """

    parameters: dict[str, inspect.Parameter] = field(default_factory=dict)
    is_open: bool = False

    @property
    def required(self) -> list[str]:
        """Names without a default."""
        empty = inspect.Parameter.empty
        return [name for name, found in self.parameters.items() if found.default is empty]


def signature_of(target: Callable[..., Any]) -> Signature:
    """The named arguments of a callable.

    The ``**kwargs`` of an ``__init__`` stand for the arguments of the next class in the method
    resolution order, without those that ``super().__init__(...)`` sets itself. The ``**kwargs`` of
    a function stand for the optional arguments of the class that it is annotated to return.

    Args:
        target: a class or function.

    Returns:
        Its signature; open if some ``**kwargs`` cannot be followed.

    Example:
        >>> class Base:
        ...     def __init__(self, margin, swap=False): ...
        >>> class Loss(Base):
        ...     def __init__(self, power: int = 2, **kwargs):
        ...         super().__init__(**kwargs)
        >>> signature_of(Loss).required, list(signature_of(Loss).parameters)
        (['margin'], ['power', 'margin', 'swap'])
    """
    return _of_class(target) if inspect.isclass(target) else _of_function(target)


def _of_class(target: type) -> Signature:
    parameters: dict[str, inspect.Parameter] = {}
    passed: set[str] = set()
    positions = 0
    for owner in target.__mro__[:-1]:
        init = owner.__dict__.get("__init__")
        if init is None:
            continue
        found = _parameters(init)
        if found is None:
            return Signature(parameters, is_open=True)
        named = [p for p in found[1:] if p.kind in _NAMED]
        for parameter in named[positions:]:
            if parameter.name not in passed:
                parameters.setdefault(parameter.name, parameter)
        if not _takes_any(found):
            return Signature(parameters)
        call = _super_call(init)
        if call is not None and not call.forwards:
            return Signature(parameters, is_open=True)
        if call is not None:
            passed |= call.keywords
            positions = call.positions
    return Signature(parameters) if target.__init__ is not object.__init__ else _of_new(target)


def _of_new(target: type) -> Signature:
    """Of a class without ``__init__``, such as a named tuple."""
    found = _parameters(target)
    if found is None or _takes_any(found):
        return Signature(is_open=True)
    return Signature({p.name: p for p in found if p.kind in _NAMED})


def _of_function(target: Callable[..., Any]) -> Signature:
    found = _parameters(target)
    if found is None:
        return Signature(is_open=True)
    parameters = {p.name: p for p in found if p.kind in _NAMED}
    if not _takes_any(found):
        return Signature(parameters)
    returned = _hints(target).get("return")
    built = _of_class(returned) if inspect.isclass(returned) else Signature(is_open=True)
    optional = {k: p for k, p in built.parameters.items() if k not in built.required}
    # An abstract return type, such as nn.Module, says nothing about the arguments.
    return Signature({**optional, **parameters}, is_open=built.is_open or not optional)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
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


def _takes_any(parameters: list[inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


@dataclass(frozen=True)
class _SuperCall:
    """What an ``__init__`` hands to the next one."""

    keywords: frozenset[str]
    positions: int
    forwards: bool


def _super_call(init: Callable[..., Any]) -> _SuperCall | None:
    """The call of the next ``__init__`` in the source of one, None if there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return None
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "__init__"
    ]
    named = [keyword.arg for call in calls for keyword in call.keywords]
    plain = [arg for call in calls[:1] for arg in call.args if not isinstance(arg, ast.Starred)]
    is_super = all(isinstance(call.func.value, ast.Call) for call in calls[:1])  # type: ignore[attr-defined]
    return _SuperCall(
        keywords=frozenset(name for name in named if name is not None),
        positions=len(plain) if is_super else max(0, len(plain) - 1),
        forwards=None in named,
    )
