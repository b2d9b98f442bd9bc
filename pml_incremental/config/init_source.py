"""What an ``__init__`` does with its ``**kwargs``, read from its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class InitSource:
    """What becomes of the arguments of an ``__init__`` that takes ``**kwargs``.

    Args:
        passed: names of the arguments that it passes to the next ``__init__`` itself.
        positions: how many arguments it passes by position.
        forwards: whether it passes ``**kwargs`` on.
        required: names that it reads as ``kwargs["name"]``.
        optional: names that it reads by ``kwargs.get`` or ``kwargs.pop``.
    """

    passed: frozenset[str]
    positions: int
    forwards: bool
    required: frozenset[str]
    optional: frozenset[str]


def read_init(init: Callable[..., Any]) -> InitSource | None:
    """Read the source of an ``__init__``.

    Args:
        init: a function.

    Returns:
        What it does, or None if there is no source to read.
    """
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
