"""Tensors and plain values in one file that notices damage; checkpoints that replace the last."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pml_incremental.storage.whole_file import (
    DamagedFileError,
    check_format,
    damaged,
    sync,
    write_whole,
)

logger = logging.getLogger(__name__)

_KIND = "__kind__"

FORMAT = "1"
_FORMAT_KEY, _SHA_KEY, _STATE_KEY = "format_version", "sha256", "state"


class TensorFile(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    state: Any


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], state: Any = None) -> None:
    """Write a file whole or not at all, after it has been read back and found right.

    Args:
        path: of the file.
        tensors: by name, on any device.
        state: further values that JSON can hold.

    Raises:
        StorageError: if it cannot be written; an old file stays.
        DamagedFileError: if what is read back is not what was written; an old file stays.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "state.safetensors")
        >>> write_tensor_file(path, {"weight": torch.ones(2)}, {"epoch": 3})
        >>> read_tensor_file(path, "learn again")
        TensorFile(tensors={'weight': tensor([1., 1.])}, state={'epoch': 3})
    """
    plain = _on_cpu_and_apart(tensors)
    text = json.dumps(state)
    metadata = {_FORMAT_KEY: FORMAT, _STATE_KEY: text, _SHA_KEY: _digest(plain, text)}

    def write(part: Path) -> None:
        save_file(plain, part, metadata=metadata)
        read_tensor_file(part, "the disk did not keep it: try again on another")

    write_whole(path, write)


def has_checksum(path: Path) -> bool:
    """Whether a file is one of :func:`write_tensor_file`'s, and none from elsewhere."""
    try:
        with safe_open(path, framework="pt") as file:
            return _SHA_KEY in (file.metadata() or {})
    except SafetensorError:
        return False


def read_tensor_file(path: Path, remedy: str) -> TensorFile:
    """Read what :func:`write_tensor_file` wrote.

    A file without any metadata comes back as it is: versions before the format wrote none.

    Args:
        path: of the file.
        remedy: what to do about a damaged file, for the message.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: if it is not what was written, naming it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError, TypeError, MemoryError) as error:
        raise damaged(path, error, remedy) from error
    if metadata is None:
        return TensorFile(tensors, None)
    check_format(metadata.get(_FORMAT_KEY), FORMAT, path, remedy)
    text = metadata.get(_STATE_KEY, "")
    if metadata.get(_SHA_KEY) != _digest(tensors, text):
        raise damaged(path, "it fails its checksum", remedy)
    return TensorFile(tensors, json.loads(text))


def _on_cpu_and_apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors, no two of which share memory: safetensors refuses those."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        found[name] = plain.clone() if storage in seen else plain
        seen.add(storage)
    return found


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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


def write_generation(path: Path, tensors: Mapping[str, Tensor], state: Any) -> None:
    """Write a checkpoint; the last one is kept beside it as ``<name>.previous``.

    The last one is moved aside only when the new one has been read back and found right.

    Args:
        path: of the checkpoint.
        tensors: by name.
        state: values that JSON can hold.

    Raises:
        StorageError: if it cannot be written; what was there stays.
        DamagedFileError: if what is read back is not what was written; what was there stays.
    """
    coming = path.with_name(path.name + ".next")
    write_tensor_file(coming, tensors, state)
    if path.exists():
        os.replace(path, _previous(path))
    os.replace(coming, path)
    sync(path.parent)


def newest_readable(path: Path) -> TensorFile | None:
    """The newest checkpoint that is whole; None if there is none.

    A damaged one is named in a warning and the one before it is taken: it leads to the same result,
    only later.

    Args:
        path: that :func:`write_generation` was given.

    Example:
        >>> import tempfile
        >>> import torch
        >>> path = Path(tempfile.mkdtemp(), "checkpoint.safetensors")
        >>> for epoch in (1, 2):
        ...     write_generation(path, {"weight": torch.ones(1)}, epoch)
        >>> newest_readable(path).state
        2
        >>> _ = path.write_bytes(path.read_bytes()[:-1])
        >>> newest_readable(path).state
        1
    """
    for candidate in _candidates(path):
        if candidate.exists():
            try:
                return read_tensor_file(candidate, "the one saved before it is used instead")
            except DamagedFileError as error:
                logger.warning("%s", error)
    return None


def remove_generations(path: Path) -> None:
    """Remove a checkpoint and those kept beside it."""
    for candidate in _candidates(path):
        candidate.unlink(missing_ok=True)


def _candidates(path: Path) -> tuple[Path, ...]:
    """Newest first; a ``.next`` is whole, and was to take the place of the others."""
    return path.with_name(path.name + ".next"), path, _previous(path)


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")
