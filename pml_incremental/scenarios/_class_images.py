"""The images of each class of a dataset, split into training and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pml_incremental.scenarios._class_names import ClassNames
from pml_incremental.scenarios._map_dataset import (
    Label,
    MapDataset,
    read_labels,
    read_test_mask,
)
from pml_incremental.scenarios.split import SplitNeeds, stratified_test_mask


@dataclass(frozen=True)
class ClassImages:
    """The images of each class."""

    names: ClassNames  # the classes
    labels: NDArray[Any]  # the label of each image, shape (N,)
    by_class: dict[Label, NDArray[np.int64]]  # the indices of each class's images, ascending
    test_mask: NDArray[np.bool_]  # True for held-out test images, shape (N,)

    def indices(self, label: Label, is_test: bool) -> NDArray[np.int64]:
        """The indices of a class's test images, or of its training images."""
        indices = self.by_class[label]
        chosen: NDArray[np.int64] = indices[self.test_mask[indices] == is_test]
        return chosen


def read_class_images(dataset: MapDataset, needs: SplitNeeds) -> ClassImages:
    """The images of each class, by the dataset's own split or else by a random one."""
    labels = read_labels(dataset)
    names = ClassNames(labels, getattr(dataset, "classes", None))
    by_class = group_by_class(names.labels, labels)
    test_mask = read_test_mask(dataset)
    if test_mask is None:
        named = {names.name(label): indices for label, indices in by_class.items()}
        test_mask = stratified_test_mask(named, len(labels), needs)
    return ClassImages(names, labels, by_class, test_mask)


def group_by_class(
    classes: tuple[Label, ...], labels: NDArray[Any]
) -> dict[Label, NDArray[np.int64]]:
    """The indices at which each of the classes, all that occur and in order, occurs."""
    order = np.argsort(labels, kind="stable").astype(np.int64)
    starts = np.searchsorted(labels[order], np.asarray(classes))
    return dict(zip(classes, np.split(order, starts[1:]), strict=True))
