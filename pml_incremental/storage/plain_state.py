"""Nested state, such as an optimizer's, as JSON and tensors, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KIND = "__kind__"


def pack_state(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Take the tensors out of nested values, and leave what JSON can hold.

    Args:
        state: None, booleans, numbers, strings, tensors, arrays, and lists, tuples and dictionaries
            of them.

    Returns:
        Plain values and the tensors that they refer to.

    Raises:
        TypeError: if there is a value of another type; it says where.

    Example:
        >>> plain, tensors = pack_state({0: (torch.ones(1), 2.5)})
        >>> unpack_state(plain, tensors)
        {0: (tensor([1.]), 2.5)}
    """
    tensors: dict[str, Tensor] = {}
    return _pack(state, "", tensors), tensors


def unpack_state(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What :func:`pack_state` was given.

    Args:
        plain: the plain values.
        tensors: the tensors.
    """
    if isinstance(plain, list):
        return [unpack_state(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    match plain.get(_KIND):
        case "tensor":
            return tensors[plain["name"]]
        case "array":
            return np.asarray(tensors[plain["name"]]).view(plain["dtype"]).reshape(plain["shape"])
        case "scalar":
            return np.dtype(plain["dtype"]).type(plain["value"])
        case "tuple":
            return tuple(unpack_state(item, tensors) for item in plain["items"])
        case "mapping":
            pairs = plain["items"]
            return {unpack_state(k, tensors): unpack_state(v, tensors) for k, v in pairs}
        case _:
            return {key: unpack_state(value, tensors) for key, value in plain.items()}


def _pack(state: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    match state:
        case np.generic():
            return {_KIND: "scalar", "dtype": state.dtype.str, "value": state.item()}
        case None | bool() | int() | float() | str():
            return state
        case Tensor():
            tensors[path] = state.detach()
            return {_KIND: "tensor", "name": path}
        case np.ndarray():
            flat = np.ascontiguousarray(state).reshape(-1).view(np.uint8)
            tensors[path] = torch.from_numpy(flat.copy())
            shape = list(state.shape)
            return {_KIND: "array", "name": path, "dtype": state.dtype.str, "shape": shape}
        case list():
            return [_pack(item, f"{path}/{i}", tensors) for i, item in enumerate(state)]
        case tuple():
            items = [_pack(item, f"{path}/{i}", tensors) for i, item in enumerate(state)]
            return {_KIND: "tuple", "items": items}
        case dict() if all(isinstance(key, str) for key in state) and _KIND not in state:
            return {key: _pack(value, f"{path}/{key}", tensors) for key, value in state.items()}
        case dict():
            pairs = enumerate(state.items())
            packed = [
                [_pack(k, f"{path}/{i}.key", tensors), _pack(v, f"{path}/{i}", tensors)]
                for i, (k, v) in pairs
            ]
            return {_KIND: "mapping", "items": packed}
    raise TypeError(
        f"{path or 'the state'} is a {type(state).__name__}, which a checkpoint cannot hold: give "
        "state as numbers, strings, tensors, arrays, and lists, tuples and dictionaries of them"
    )
