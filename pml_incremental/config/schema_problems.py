"""Pydantic's findings in the words of a config."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pml_incremental.config.errors import suggest
from pml_incremental.config.layout import KeyPath
from pml_incremental.config.schema import ExperimentConfig, Section

_SECTIONS: dict[KeyPath, type[Section]] = {
    (): ExperimentConfig,
    **{
        (key,): field.annotation
        for key, field in ExperimentConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    },
}


def describe_schema_errors(
    error: ValidationError, config: dict[str, Any]
) -> list[tuple[KeyPath, str]]:
    """What keys are missing, unknown or of a wrong type.

    Args:
        error: what the schema found.
        config: what it was given.

    Returns:
        Path and description of each problem.
    """
    found: dict[KeyPath, list[str]] = {}
    for details in error.errors(include_url=False):
        path = _path_in(config, details["loc"], missing=details["type"] == "missing")
        message = _describe(details, path)
        if message not in found.setdefault(path, []):
            found[path].append(message)
    return [(path, " or ".join(messages)) for path, messages in found.items()]


def _path_in(config: Any, location: KeyPath, missing: bool) -> KeyPath:
    """Pydantic's location without what it adds for the members of a union."""
    path: KeyPath = ()
    for key in location[:-1] if missing else location:
        try:
            config = config[key]
        except (KeyError, IndexError, TypeError):
            break
        path = (*path, key)
    return (*path, location[-1]) if missing else path


def _describe(details: ErrorDetails, path: KeyPath) -> str:
    kind, got = details["type"], details["input"]
    if kind == "extra_forbidden":
        known = _SECTIONS[path[:-1]].model_fields
        return f"unknown key; {suggest(str(path[-1]), known)}"
    if kind == "missing":
        return "is missing; add it"
    if path == ("name",) and kind == "string_pattern_mismatch":
        return f"{got!r} may hold only letters, digits, '_' and '-'; set name to something else"
    if path == ("device",) and kind == "string_pattern_mismatch":
        return f"{got!r} is no device; write auto, cpu, mps, cuda or cuda:<index>"
    if kind == "path_type":
        return f"should be the path of a folder, got {got!r}"
    if kind == "value_error":
        return details["msg"].removeprefix("Value error, ")
    return f"{details['msg'].removeprefix('Input ')}, got {got!r}"
