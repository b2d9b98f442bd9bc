"""Finding classes and functions by a registered name or by ``module:attribute``."""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Mapping
from typing import Any


def find_by_name(kind: str, name: str, known: Mapping[str, Any], own: str) -> Any:
    """Find what a name stands for."""
    if name in known:
        return known[name]
    if ":" not in name:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}" if near else f"known: {', '.join(sorted(known))}"
        raise ValueError(f"there is no {kind} {name!r}; {hint}; your own is written {own}")
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"cannot find the {kind} {name!r}: {error}") from error


def warn_of_former_name(former: str, now: str) -> None:
    """Say that a name still works, in this version alone."""
    warnings.warn(
        f"{former} is now called {now}; the former name works in this version alone",
        FutureWarning,
        stacklevel=3,
    )
