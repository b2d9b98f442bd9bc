"""Checking the arguments of an object against what its class takes."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter
from typing import Any

from pml_incremental.config.errors import ConfigError, suggest
from pml_incremental.config.layout import NESTED, KeyPath, category_at, children, is_object
from pml_incremental.config.registry import resolve
from pml_incremental.config.signatures import Signature, signature_of
from pml_incremental.config.strategy_sums import is_sum, split_sum
from pml_incremental.config.supplied import COMMON, OFFERED, PML_BASES, SUPPLIED, TYPES
from pml_incremental.config.values import find_mismatch


def find_argument_problems(
    path: KeyPath, category: str, name: str, kwargs: dict[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with one object, without the objects in its arguments.

    Args:
        path: where it stands.
        category: where its class is looked up.
        name: of its class.
        kwargs: its arguments.

    Yields:
        Path and description of each problem.
    """
    if is_sum(category, name):
        yield from _find_problems_of_sum(path, name, kwargs)
        return
    try:
        target = resolve(category, name)
    except ConfigError as error:
        yield (*path, name), str(error)
        return
    signature = signature_of(target)
    configurable = _configurable(category, signature)
    for argument, value in kwargs.items():
        if not isinstance(argument, str):
            yield (*path, name), f"has an argument called {argument!r}; write a name"
            continue
        message = _check_argument(category, name, argument, value, signature, configurable)
        if message is not None:
            yield (*path, name, argument), message
        for place, message in _find_malformed(value, (argument,)):
            yield (*path, name, *place), message
    if "weights_prefix" in kwargs and "weights_file" not in kwargs and category in COMMON:
        yield (*path, name, "weights_prefix"), "is of no use without a weights_file; add one"
    filled_in = {*kwargs, *OFFERED.get(category, ()), *SUPPLIED.get(category, ())}
    for argument in signature.required:
        if argument not in filled_in:
            yield (*path, name), f"has no {argument!r}; write {name}: {{{argument}: ...}}"


def _find_problems_of_sum(
    path: KeyPath, name: str, kwargs: dict[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with the parts of a sum of strategies."""
    try:
        parts = list(split_sum(name, kwargs))
    except ConfigError as error:
        for problem in error.problems:
            yield (*path, name), problem
        return
    for part, options in parts:
        yield from find_argument_problems((*path, name), "strategy", part, options)


def _find_malformed(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Places in an argument where an object should stand and something else does."""
    category = category_at(path, NESTED)
    if category is None:
        for key, item in children(value):
            yield from _find_malformed(item, (*path, key))
    elif value is not None and not is_object(value):
        yield path, f"must be one {category}, {{ClassName: {{argument: value}}}}, got {value!r}"


def _configurable(category: str, signature: Signature) -> set[str]:
    """The arguments that a config may set."""
    names = set(signature.parameters) - SUPPLIED.get(category, {}).keys()
    if category in PML_BASES:
        base = signature_of(resolve(category, PML_BASES[category]))
        names -= base.parameters.keys() - TYPES[category].keys()
    return names | COMMON.get(category, {}).keys()


def _check_argument(
    category: str, name: str, argument: str, value: Any, signature: Signature, known: set[str]
) -> str | None:
    supplied = SUPPLIED.get(category, {})
    if argument in supplied:
        return f"is {supplied[argument]}; remove it here"
    if argument not in known:
        if argument in signature.parameters:
            return f"cannot be set in a config; {name} takes: {', '.join(sorted(known))}"
        unknown = f"{name} has no argument {argument!r}; {suggest(argument, known)}"
        return None if signature.is_open else unknown
    if category_at((argument,), NESTED) is not None:
        return None
    # torchvision's transforms take words and lists where the default is a number, and check them.
    trust_default = category != "transform"
    parameter = signature.parameters.get(argument) or Parameter(
        argument, Parameter.KEYWORD_ONLY, annotation=COMMON[category][argument]
    )
    if parameter.annotation is Parameter.empty:
        parameter = parameter.replace(
            annotation=TYPES.get(category, {}).get(argument, Parameter.empty)
        )
    return find_mismatch(parameter, value, trust_default)
