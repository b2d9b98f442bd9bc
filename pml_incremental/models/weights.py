"""Weights of a network from a local file."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pml_incremental.models.trunk import HEADS, remove_classification_head

_SHOWN = 5
# What unpickling raises depends on the bytes.
_UNREADABLE = (
    *(SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, struct.error),
    *(LookupError, ValueError, TypeError, AttributeError),
)
_COUNTER = "num_batches_tracked"  # of BatchNorm, which files older than torch 0.4.1 lack


def load_weights(
    network: nn.Module, file: str | os.PathLike[str], prefix: str = "", keep_head: bool = False
) -> nn.Module:
    """Fill a network with all the weights of a local file, as a trunk.

    The network's classification layer is removed first, and the file's, if it has one, is not read.
    All other weights must be in the file, in their shapes, and no further ones. Two old forms are
    taken too: vectors of shape (1, n) for (n,), and BatchNorm without its counter of batches.

    Args:
        network: changed in place.
        file: as :func:`read_weights` takes it.
        prefix: of the names in the file that are this network's, and is cut off, such as
            ``trunk.`` for a ``model.safetensors`` of a run or ``module.`` for one saved from
            ``DataParallel``.
        keep_head: leave the network as it is, and read the weights of its last layer too.

    Returns:
        The network.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds something else than weights, or its names or shapes are not
            those of the network.

    Example:
        >>> import tempfile
        >>> trained, network = nn.Linear(4, 2), nn.Linear(4, 2)
        >>> path = Path(tempfile.mkdtemp(), "weights.pth")
        >>> torch.save(trained.state_dict(), path)
        >>> bool((load_weights(network, path).weight == trained.weight).all())
        True
    """
    path = Path(file)
    found = tensors_under(prefix, read_weights(path))
    if not keep_head:
        remove_classification_head(network)
    expected = network.state_dict()
    if not keep_head:
        found = _without_head(found, expected)
    found = _with_plain_vectors(found, expected)
    problems = _describe_problems(found, expected)
    if problems:
        of = f" under {prefix!r}" if prefix else ""
        raise ValueError(
            f"{path}{of} does not hold the weights of {type(network).__name__}:\n"
            + "\n".join([*problems, *_suggest_layer(found)])
        )
    network.load_state_dict({**expected, **found})
    return network


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """All tensors of a file by name.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote of a ``state_dict()``, of a dictionary
            with one under ``state_dict``, or of several by name, such as ``trunk`` and
            ``embedder``, which become prefixes. Nothing but plain data is unpickled
            (``weights_only=True``).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(describe_missing(path))
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as weights: {_what_it_is_not(path)}; save them with "
            "torch.save(model.state_dict(), ...)"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if isinstance(content, Mapping) and content and all(map(_is_state, content.values())):
        content = {f"{k}.{name}": v for k, state in content.items() for name, v in state.items()}
    if not _is_state(content):
        what = f"the entries {_some(content)}" if isinstance(content, Mapping) else "no mapping"
        raise ValueError(
            f"{path} holds {what} instead of tensors by name: save the network's state_dict()"
        )
    state: Mapping[str, Tensor] = content
    return state


def describe_missing(path: Path) -> str:
    """What is wrong with a path that is no file of weights."""
    if not path.is_dir():
        return f"{path}: there is no such file of weights"
    found = sorted(path.rglob("model.safetensors"), key=lambda file: (len(file.parts), file))
    known = f"one of those in it: {_some(found)}" if found else "a file of weights"
    return f"{path} is a folder; name {known}"


def _what_it_is_not(path: Path) -> str:
    """Why a file cannot be read, without torch's advice to unpickle whatever it holds."""
    if path.suffix == ".safetensors":
        return "it is no safetensors file, or is damaged"
    with path.open("rb") as file:
        is_pickle = file.read(1) == pickle.PROTO
    if is_pickle or zipfile.is_zipfile(path):
        return "it holds more than tensors, such as a whole model, which could have any code run"
    return "torch.save did not write it, or it is damaged"


def _is_state(content: Any) -> bool:
    return isinstance(content, Mapping) and all(isinstance(v, Tensor) for v in content.values())


def _without_head(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor
        for name, tensor in found.items()
        if name in expected or name.split(".")[0] not in HEADS
    }


def _with_plain_vectors(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The same weights, those of shape (1, n) as (n,) where that is expected."""
    shapes = {name: (1, *tensor.shape) for name, tensor in expected.items()}
    return {
        name: tensor[0] if tensor.shape == shapes.get(name) else tensor
        for name, tensor in found.items()
    }


def _describe_problems(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in expected if name not in found and not name.endswith(_COUNTER)]
    unexpected = [name for name in found if name not in expected]
    misfits = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
        for name, tensor in found.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    parts = {"missing": missing, "not of this network": unexpected, "of another shape": misfits}
    return [f"{len(names)} {what}: {_some(names)}" for what, names in parts.items() if names]


def _suggest_layer(found: Mapping[str, Tensor]) -> list[str]:
    """What to write for the weights of a single layer."""
    if not {"weight"} <= found.keys() <= {"weight", "bias"} or found["weight"].dim() != 2:
        return []
    width_out, width_in = found["weight"].shape
    bias = "" if "bias" in found else ", bias: false"
    layer = f"Linear: {{in_features: {width_in}, out_features: {width_out}{bias}}}"
    return [f"they are those of a single layer: write {layer}"]


def _some(names: Iterable[Any]) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")


def tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a flat mapping whose names begin with a prefix, without it.

    Args:
        prefix: such as ``"trunk."``.
        tensors: tensors by full name.

    Returns:
        The same tensors by what follows the prefix.

    Example:
        >>> list(tensors_under("trunk.", {"trunk.weight": 1, "trunk2.weight": 2}))
        ['weight']
    """
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
