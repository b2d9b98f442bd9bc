"""State that objects keep in plain attributes: counters, queues, shuffled lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

_SINGLE = (type(None), bool, int, float, str, np.generic, np.ndarray, Tensor)


def plain_attributes(thing: object) -> dict[str, Any]:
    """The attributes of an object that are numbers, strings, tensors, arrays, or made of them."""
    return {
        name: _copy(value)
        for name, value in getattr(thing, "__dict__", {}).items()
        if not name.startswith("_") and _is_plain(value)
    }


def set_plain_attributes(thing: object, attributes: Mapping[str, Any]) -> None:
    """Take back what :func:`plain_attributes` gave; tensors go where those in place are."""
    for name, value in attributes.items():
        current = getattr(thing, name, None)
        if isinstance(value, Tensor) and isinstance(current, Tensor):
            value = value.to(current.device)
        setattr(thing, name, _copy(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _SINGLE)


def _copy(value: Any) -> Any:
    """A copy that later changes in place do not reach."""
    if isinstance(value, list):
        return [_copy(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.copy()
    return value.detach().clone() if isinstance(value, Tensor) else value
