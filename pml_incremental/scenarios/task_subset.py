"""Some images of a dataset, under a task stream's own labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pml_incremental.scenarios._task_classes import Label, MapDataset


class TaskSubset(Dataset[tuple[Any, int]]):
    """Images of a dataset with new labels.

    The dataset's items may be ``(image, label)`` or ``{"data": image, "label": label}``; those of
    the subset are always ``(image, new label)``.

    Args:
        dataset: the dataset that the images are in.
        indices: where the images are in it, shape (n,).
        labels: the new label of each image, shape (n,).
        original_labels: the label that the dataset says each image has, shape (n,): items that say
            otherwise are an error.
        transform: called with each image that the dataset gives; by default the image is returned
            as is.

    Raises:
        ValueError: if the lengths differ; when an item is read, if it has another label than the
            dataset's list of labels says.
        TypeError: when an item is read, if it is of neither form.

    Example:
        >>> class Letters(list):
        ...     pass
        >>> letters = Letters([("a", 7), ("b", 8), ("c", 8)])
        >>> subset = TaskSubset(letters, np.array([1, 2]), np.array([0, 0]), np.array([8, 8]))
        >>> subset[1], len(subset), subset.image_name(1)
        (('c', 0), 2, 'image 2 of Letters')
        >>> subset.with_transform(str.upper)[1]
        ('C', 0)
    """

    def __init__(
        self,
        dataset: MapDataset,
        indices: NDArray[np.int64],
        labels: NDArray[np.int64],
        original_labels: NDArray[Any],
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if not len(indices) == len(labels) == len(original_labels):
            raise ValueError(
                "indices, labels and original_labels must have one entry per image, got "
                f"{len(indices)}, {len(labels)} and {len(original_labels)}"
            )
        self.dataset = dataset
        self.indices = indices
        self.labels = labels
        self.original_labels = original_labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, item_label = _image_and_label(self.dataset[int(self.indices[index])])
        self._check_label(index, item_label)
        return self.transform(image) if self.transform else image, int(self.labels[index])

    def image_name(self, index: int) -> str:
        """What to call an image in a message: its file, if the dataset knows it."""
        position = int(self.indices[index])
        if hasattr(self.dataset, "image_name"):
            return str(self.dataset.image_name(position))
        return f"image {position} of {type(self.dataset).__name__}"

    def with_transform(self, transform: Callable[[Any], Any] | None) -> TaskSubset:
        """The same images with another transform."""
        return TaskSubset(self.dataset, self.indices, self.labels, self.original_labels, transform)

    def _check_label(self, index: int, item_label: Any) -> None:
        listed = self.original_labels[index].item()
        if isinstance(item_label, (Tensor, np.generic, np.ndarray)):
            item_label = item_label.tolist()
        # Labels of another kind, such as names, cannot be compared.
        if type(item_label) is type(listed) and item_label != listed:
            raise ValueError(
                f"{self.image_name(index)} has label {item_label!r}, but the dataset's list of "
                f"labels says {listed!r}: the list is not in the order of the items, or the "
                "dataset has a target_transform, which a scenario does not need"
            )


def _image_and_label(item: Any) -> tuple[Any, Any]:
    if isinstance(item, dict) and "data" in item:
        return item["data"], item.get("label")
    if isinstance(item, (tuple, list)) and len(item) >= 2:
        return item[0], item[1]
    raise TypeError(
        "a dataset's item must be (image, label) or a dictionary with data and label, got "
        f"{type(item).__name__}"
    )


@dataclass(frozen=True)
class Task:
    """New classes that arrive together, with training images and held-out test images.

    Args:
        number: place in the stream, from 1.
        classes: the classes as the dataset labels them.
        class_names: their names, in the same order.
        labels: their new labels, in the same order.
        train: the training images.
        test: the held-out test images, of the same classes.
    """

    number: int
    classes: tuple[Label, ...]
    class_names: tuple[str, ...]
    labels: range
    train: TaskSubset
    test: TaskSubset

    @property
    def name(self) -> str:
        """A short name that is fit for file names and records, such as ``task_1``."""
        return f"task_{self.number}"


def join_subsets(subsets: Sequence[TaskSubset]) -> TaskSubset:
    """The images of several subsets of one dataset, one after the other.

    Args:
        subsets: at least one, all of the same dataset. The transform of the first holds for all.

    Returns:
        A new subset, or the only one given.

    Raises:
        ValueError: if there are none, or they are of different datasets.

    Example:
        >>> letters = [("a", 0), ("b", 1)]
        >>> first, second = (
        ...     TaskSubset(letters, np.array([i]), np.array([i]), np.array([i])) for i in (0, 1)
        ... )
        >>> list(join_subsets([second, first]))
        [('b', 1), ('a', 0)]
    """
    if not subsets:
        raise ValueError("there are no subsets to join: give at least one")
    first = subsets[0]
    if len(subsets) == 1:
        return first
    if any(subset.dataset is not first.dataset for subset in subsets):
        raise ValueError("subsets of different datasets cannot be joined: take them from one")
    return TaskSubset(
        first.dataset,
        np.concatenate([subset.indices for subset in subsets]),
        np.concatenate([subset.labels for subset in subsets]),
        np.concatenate([subset.original_labels for subset in subsets]),
        first.transform,
    )


def select_images(subset: TaskSubset, positions: NDArray[np.int64]) -> TaskSubset:
    """Some of a subset's images.

    Args:
        subset: to choose from.
        positions: in the subset, shape (n,).

    Returns:
        A new subset with the same transform.

    Example:
        >>> letters = [("a", 7), ("b", 8), ("c", 8)]
        >>> where = np.arange(3)
        >>> subset = TaskSubset(letters, where, np.array([0, 1, 1]), np.array([7, 8, 8]))
        >>> list(select_images(subset, np.array([2])))
        [('c', 1)]
    """
    return TaskSubset(
        subset.dataset,
        subset.indices[positions],
        subset.labels[positions],
        subset.original_labels[positions],
        subset.transform,
    )
