"""A teacher's outputs for all images, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pml_incremental.search.tensors import mapped_tensor
from pml_incremental.trainers.teacher import TeacherOutputs
from pml_incremental.trainers.training_state import (
    random_state,
    restore_random_state,
    seed_generators,
)

_IMAGES = 8


@dataclass(frozen=True)
class TeacherCache:
    """What a teacher makes of all images of a dataset.

    Attributes:
        outputs: of all images, on the CPU.

    Example:
        >>> nothing = torch.zeros(3, 0)
        >>> outputs = TeacherOutputs(torch.tensor([[1.0], [2.0], [3.0]]), nothing, nothing)
        >>> TeacherCache.of([outputs], images=3).look_up([2, 0]).embeddings.tolist()
        [[3.0], [1.0]]
    """

    outputs: TeacherOutputs

    @classmethod
    def of(
        cls,
        batches: Iterable[TeacherOutputs],
        images: int,
        folder: str | Path | None = None,
    ) -> TeacherCache:
        """Keep the outputs for batch after batch.

        Args:
            batches: outputs for the images, in the order of the dataset.
            images: how many there are in all.
            folder: where they lie, in mapped files; default: in memory.

        Returns:
            The cache.

        Raises:
            ValueError: if there is no room in the folder, or the batches do not make up the images.
        """
        kept: list[Tensor] = []
        done = 0
        for outputs in batches:
            kept = kept or [_room(images, output, folder) for output in outputs]
            end = done + len(outputs[0])
            if end <= images:
                for rows, output in zip(kept, outputs, strict=True):
                    rows[done:end] = output
            done = end
        if done != images or not kept:
            raise ValueError(
                f"a pass over the dataset gave {done} images where it has {images}: cache_teacher "
                "needs a collate_fn that keeps each image once"
            )
        return cls(TeacherOutputs(*kept))

    def look_up(self, indices: Sequence[int]) -> TeacherOutputs:
        """The outputs for some images, on the CPU.

        Args:
            indices: into the dataset, N of them.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return TeacherOutputs(*(output[rows] for output in self.outputs))


def _room(images: int, like: Tensor, folder: str | Path | None) -> Tensor:
    width = like.shape[1]
    if folder is None or width == 0:
        return torch.empty(images, width, dtype=like.dtype)
    return mapped_tensor(folder, images, width, like.dtype)


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
