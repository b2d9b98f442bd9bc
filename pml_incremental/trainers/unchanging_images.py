"""Whether a dataset gives the same images again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pml_incremental.trainers.random_state import (
    random_state,
    restore_random_state,
    seed_generators,
)

_IMAGES = 8


def check_unchanging(dataset: Dataset[Any]) -> None:
    """Refuse a dataset with a random transform.

    Some images, evenly spread, are made twice from different seeds. They must be equal, and nothing
    may have been drawn from Python's, NumPy's or torch's generators: a flip of probability 0.01
    would hardly show otherwise. The generators are left as they were.

    Args:
        dataset: map-style, with a length.

    Raises:
        ValueError: if an image changes, naming the first random transform if ``dataset`` has a
            ``transform`` that is a ``Compose`` and a method ``with_transform``.

    Example:
        >>> check_unchanging(torch.utils.data.TensorDataset(torch.eye(2)))
    """
    count = len(dataset)  # type: ignore[arg-type]
    places = sorted({place * (count - 1) // (_IMAGES - 1) for place in range(_IMAGES)})
    before = random_state()
    try:
        changing = next((place for place in places if _changes(dataset, place)), None)
        culprit = None if changing is None else _random_transform(dataset, changing)
    finally:
        restore_random_state(before)
    if culprit is not None:
        raise ValueError(
            f"cache_teacher needs images that are always the same, and {culprit} is random: take "
            "random transforms out of the training transform, or leave out cache_teacher"
        )


def _changes(dataset: Any, place: int) -> bool:
    """Whether an item differs from one seed to another, or draws random numbers."""
    items = []
    for seed in (0, 1):
        seed_generators(seed)
        before = random_state()
        items.append(dataset[place])
        if not _same(before, random_state()):
            return True
    return not _same(*items)


def _random_transform(dataset: Any, place: int) -> str:
    """The first random step of a composed transform; else the transform, or the dataset itself."""
    transform = getattr(dataset, "transform", None)
    if transform is None:
        return f"what {type(dataset).__name__} gives"
    if type(transform).__name__ == "Compose" and hasattr(dataset, "with_transform"):
        steps = transform.transforms
        for count in range(len(steps) + 1):
            if _changes(dataset.with_transform(type(transform)(steps[:count])), place):
                return str(steps[count - 1]) if count else f"what {type(dataset).__name__} gives"
    return str(transform)


def _same(first: Any, second: Any) -> bool:
    """Whether two items, made of tensors, arrays, images and plain values, are equal."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return all(_same(value, second[key]) for key, value in first.items())
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)
