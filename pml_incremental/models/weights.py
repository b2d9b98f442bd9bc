"""Weights of a network from a local file."""

from __future__ import annotations

import errno
import os
import pickle
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pml_incremental.models.trunk import HEADS, remove_classification_head
from pml_incremental.wording import some_of

#: The weights in the folder of a stage, and in one that export writes.
MODEL = "model.safetensors"
# What unpickling raises depends on the bytes.
_UNREADABLE = (
    *(SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, struct.error),
    *(LookupError, ValueError, TypeError, AttributeError),
)
_COUNTER = "num_batches_tracked"  # of BatchNorm, which files older than torch 0.4.1 lack
_COMPILED = "_orig_mod."  # what torch.compile puts into names
#: Entries of a checkpoint that hold the model.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_TRUNKS, _EMBEDDERS = ("trunk", "backbone"), ("embedder", "head")
#: What prefixes are usually made of. A layer that fits somewhere else may do so by chance.
_USUAL = {*_WRAPPERS, "module", *_TRUNKS, *_EMBEDDERS}
_NAME_PREFIX = (
    "name the one that is meant with weights_prefix (on the command line --weights-prefix)"
)


def load_weights(
    network: nn.Module,
    file: str | os.PathLike[str],
    prefix: str = "",
    keep_head: bool = False,
    alone: bool = False,
) -> nn.Module:
    """Fill a network with all the weights of a local file, as a trunk.

    The network's classification layer is removed first, and the file's, if it has one, is not read.
    All other weights must be in the file, in their shapes, and no further ones. Names in the file
    may have a prefix, or lack one that all of the network's names have; it is found where the
    weights fit under one alone. Two old forms are taken too: vectors of shape (1, n) for (n,), and
    BatchNorm without its counter of batches.

    Args:
        network: changed in place.
        file: as :func:`read_weights` takes it.
        prefix: look only among the names in the file that begin with it, such as ``ema.`` where
            ``model.`` would fit too.
        keep_head: leave the network as it is, and read the weights of its last layer too.
        alone: whether no embedder follows, so that one in the file would be missed.

    Returns:
        The network.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds something else than weights, its names or shapes are not
            those of the network, they are under several prefixes, which are shown, or an embedder
            in the file would be missed.

    Example:
        >>> import tempfile
        >>> trained, network = nn.Linear(4, 2), nn.Linear(4, 2)
        >>> path = Path(tempfile.mkdtemp(), "weights.pth")
        >>> torch.save({"model_state_dict": nn.DataParallel(trained).state_dict()}, path)
        >>> bool((load_weights(network, path).weight == trained.weight).all())
        True
    """
    path, prefix = Path(file), prefix.replace(_COMPILED, "")
    tensors = tensors_under(prefix, read_weights(path))
    if not keep_head:
        remove_classification_head(network)
    expected = network.state_dict()
    own = _common_prefix(expected)
    plain = tensors_under(own, expected)
    under = {
        inner: _as_expected(tensors_under(inner, tensors), plain, keep_head)
        for inner in _candidates(tensors, plain)
    }
    fitting = [inner for inner, found in under.items() if not _describe_problems(found, plain)]
    chosen = _choose(fitting, own)
    if chosen is None:
        where, name = f"{path}{_under(prefix)}", type(network).__name__
        if fitting:
            several = some_of(repr(prefix + inner) for inner in fitting)
            raise ValueError(f"{where} has weights that fit {name} under {several}; {_NAME_PREFIX}")
        near = max(under, key=lambda inner: _count_fitting(under[inner], plain))
        found = {own + inner: tensor for inner, tensor in under[near].items()}
        problems = _describe_problems(found, expected)
        if under[near].keys() != plain.keys():
            problems += _suggest_layer(under[near])
        if 2 * _count_fitting(under[near], plain) < len(plain):
            problems += _describe_prefixes(tensors, prefix)
        if keep_head and not _count_fitting(under[near], plain):
            problems.append(
                "if they are in another file, name that (an embedder's by its own weights_file, on "
                "the command line --embedder)"
            )
        raise ValueError(
            f"{path}{_under((prefix + near).removesuffix(own))} does not hold the weights of "
            f"{name}:\n" + "\n".join(problems)
        )
    if alone:
        _check_nothing_follows(f"{path}{_under(prefix)}", tensors, prefix, chosen)
    found = {own + name: tensor for name, tensor in under[chosen].items()}
    network.load_state_dict({**expected, **found})
    return network


def _common_prefix(names: Iterable[str]) -> str:
    """The prefix that all names have, as of a network that is one attribute of another."""
    modules = zip(*(name.split(".")[:-1] for name in names), strict=False)
    common = takewhile(lambda parts: len(set(parts)) == 1, modules)
    return "".join(f"{parts[0]}." for parts in common)


def _candidates(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Prefixes under which the first of the expected names is found; none always is one."""
    first = next(iter(expected), None)
    found = {""}
    if first is not None:
        ends = (name.removesuffix(first) for name in tensors if name.endswith(first))
        found.update(start for start in ends if not start or start.endswith("."))
    return sorted(found)


def _choose(fitting: Sequence[str], own: str) -> str | None:
    """The prefix to read under: none if it fits, else one of usual words, else the only one."""
    for exact in ("", own):
        if exact in fitting:
            return exact
    usual = [inner for inner in fitting if _USUAL.issuperset(inner[:-1].split("."))]
    return (usual or fitting)[0] if len(usual or fitting) == 1 else None


def _count_fitting(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int:
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    return sum(tensor.shape == shapes.get(name) for name, tensor in found.items())


def _as_expected(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], keep_head: bool
) -> dict[str, Tensor]:
    """What a file has, without a head and in the shapes of today."""
    kept = found if keep_head else _without_head(found, expected)
    return _with_plain_vectors(kept, expected)


def _under(prefix: str) -> str:
    return f" under {prefix!r}" if prefix else ""


def _describe_prefixes(tensors: Mapping[str, Tensor], prefix: str) -> list[str]:
    """How the names in a file begin."""
    counts = Counter(name.partition(".")[0] + "." for name in tensors if "." in name)
    listed = some_of(f"{prefix}{start} ({number})" for start, number in counts.most_common())
    return [f"the names in it begin with {listed}; {_NAME_PREFIX}"] if counts else []


def _check_nothing_follows(
    where: str, tensors: Mapping[str, Tensor], prefix: str, trunk: str
) -> None:
    """Refuse a trunk beside which the file has an embedder."""
    *outer, last = trunk[:-1].split(".")
    if last not in _TRUNKS:
        return
    for part in _EMBEDDERS:
        start = ".".join([*outer, f"{part}."])
        if any(name.startswith(start) for name in tensors):
            raise ValueError(
                f"{where} has weights under {prefix + start!r} too, which the trunk alone would do "
                "without: add models.embedder, such as MLP, or do without them by weights_prefix: "
                f"{prefix + trunk} (on the command line --weights-prefix)"
            )


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """All tensors of a file by name.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote of a ``state_dict()``, of a dictionary
            with one under ``state_dict``, ``model_state_dict`` or ``model``, or of several by name,
            such as ``trunk`` and ``embedder``, which become prefixes. Beside them there may be
            anything else that is plain data (``weights_only=True``), such as an optimizer's state.
            ``_orig_mod.``, which ``torch.compile`` puts into names, is taken out of them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(describe_missing(path))
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
        state = _flat(_unwrapped(content)) if isinstance(content, Mapping) else {}
    except (*_UNREADABLE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the start
            raise
        raise ValueError(
            f"{path} cannot be read as weights: {_what_it_is_not(path)}; save them with "
            "torch.save(model.state_dict(), ...)"
        ) from error
    if not state:
        what = f"the entries {some_of(content)}" if isinstance(content, Mapping) else "no mapping"
        raise ValueError(
            f"{path} holds {what} instead of tensors by name: save the network's state_dict()"
        )
    return {name.replace(_COMPILED, ""): tensor for name, tensor in state.items()}


def _unwrapped(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A checkpoint's model, unless it has several, whose names then tell them apart."""
    models = {key for key, value in content.items() if _flat({key: value})}
    (only,) = models if len(models) == 1 else ("",)
    is_wrapped = only in _WRAPPERS and isinstance(content[only], Mapping)
    return _unwrapped(content[only]) if is_wrapped else content


def _flat(content: Mapping[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    """All tensors in nested mappings by dotted names, without those of optimizers."""
    found: dict[str, Tensor] = {}
    for key, value in content.items():
        if isinstance(value, Tensor):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, Mapping) and "param_groups" not in value:
            found |= _flat(value, f"{prefix}{key}.")
    return found


def describe_missing(path: Path) -> str:
    """What is wrong with a path that is no file of weights."""
    if not path.is_dir():
        return f"{path}: there is no such file of weights"
    found = sorted(path.rglob(MODEL), key=lambda file: (len(file.parts), file))
    known = f"one of those in it: {some_of(found)}" if found else "a file of weights"
    return f"{path} is a folder; name {known}"


def _what_it_is_not(path: Path) -> str:
    """Why a file cannot be read, without torch's advice to unpickle whatever it holds."""
    if path.suffix == ".safetensors":
        return "it is not a safetensors file, or is damaged"
    with path.open("rb") as file:
        is_pickle = file.read(1) == pickle.PROTO
    if is_pickle or zipfile.is_zipfile(path):
        return "it has more than tensors, such as a whole model, which could run any code"
    return "torch.save did not write it, or it is damaged"


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
    return [f"{len(names)} {what}: {some_of(names)}" for what, names in parts.items() if names]


def _suggest_layer(found: Mapping[str, Tensor]) -> list[str]:
    """What to write for the weights of a single layer."""
    if not {"weight"} <= found.keys() <= {"weight", "bias"} or found["weight"].dim() != 2:
        return []
    width_out, width_in = found["weight"].shape
    bias = "" if "bias" in found else ", bias: false"
    layer = f"Linear: {{in_features: {width_in}, out_features: {width_out}{bias}}}"
    return [f"they are those of a single layer: write {layer}"]


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
