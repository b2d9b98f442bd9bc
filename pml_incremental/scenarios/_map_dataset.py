"""What a scenario reads from a dataset: labels, and the dataset's own split if it has one."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Label: TypeAlias = int | str


class MapDataset(Protocol):
    """A dataset with a length and an item for each index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def read_labels(dataset: MapDataset) -> NDArray[Any]:
    """The dataset's ``labels`` or ``targets``: integers or strings, one per item."""
    kind = type(dataset).__name__
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"the dataset must be map-style, with a length and items; {kind} is not")
    name = "labels" if getattr(dataset, "labels", None) is not None else "targets"
    labels = getattr(dataset, name, None)
    if labels is None:
        raise ValueError(f"{kind} has neither labels nor targets: give it a label for each item")
    array = _to_array(labels)
    if array.ndim != 1 or len(array) != len(dataset):
        raise ValueError(
            f"{kind} has {len(dataset)} items but its {name} have shape {array.shape}: they must "
            "be one per item, in the order of the items"
        )
    if len(array) == 0:
        raise ValueError(f"{kind} is empty: give it items")
    if array.dtype.kind not in "iuU":
        raise ValueError(
            f"the {name} of {kind} must be all integers or all strings, got {_contents(labels)}"
        )
    return array


def read_test_mask(dataset: MapDataset) -> NDArray[np.bool_] | None:
    """The dataset's own split, True for held-out test images; None if it has none."""
    raw = getattr(dataset, "test_mask", None)
    if raw is None:
        return None
    mask = np.asarray(raw)
    if mask.dtype != np.bool_ or mask.shape != (len(dataset),):
        raise ValueError(
            f"the test_mask of {type(dataset).__name__} must be booleans of shape "
            f"({len(dataset)},), one per item, got {mask.dtype} of shape {mask.shape}"
        )
    return mask


def _to_array(labels: Any) -> NDArray[Any]:
    if isinstance(labels, Tensor):
        return np.asarray(labels.detach().cpu())
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return labels
    items = [x.tolist() if isinstance(x, (Tensor, np.generic)) else x for x in labels]
    # Left to itself numpy would make strings of a mixture.
    plain = {type(x) for x in items} in ({int}, {str})
    return np.asarray(items, dtype=None if plain else object)


def _contents(labels: Any) -> str:
    if isinstance(labels, (Tensor, np.ndarray)) and labels.dtype != object:
        return str(labels.dtype)
    return " and ".join(sorted({type(x).__name__ for x in labels}))
