"""Some images of a dataset, under a task stream's own labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pml_incremental.scenarios._map_dataset import MapDataset


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
                "dataset has a target_transform, which a scenario has no use for"
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
