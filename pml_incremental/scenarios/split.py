"""A random split by image within each class, the same whatever other classes there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pml_incremental.scenarios._task_classes import (
    ClassNames,
    Label,
    MapDataset,
    read_labels,
    read_test_mask,
)

SPLIT_STREAM = 2


@dataclass(frozen=True)
class SplitNeeds:
    """What a split must give each class; see ``ClassIncrementalScenario`` for the arguments."""

    test_fraction: float
    min_train: int
    min_test: int
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("min_train", 1), ("min_test", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, got {value!r}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not isinstance(self.test_fraction, (int, float)):
            raise TypeError(f"test_fraction must be a number, got {self.test_fraction!r}")
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction must be between 0 and 1, got {self.test_fraction}")

    @property
    def described(self) -> str:
        """What a class needs, for people."""
        return (
            f"at least {self.min_train} to learn from and {self.min_test} to test with are needed"
        )

    def test_size(self, n_images: int) -> int:
        """How many of a class's images to hold out: the fraction, within what both sides need."""
        wanted = min(round(self.test_fraction * n_images), n_images - self.min_train)
        return min(n_images, max(self.min_test, wanted))


def stratified_test_mask(
    images: Mapping[str, NDArray[np.int64]], n_images: int, needs: SplitNeeds
) -> NDArray[np.bool_]:
    """True for the images held out, shape (n_images,)."""
    mask = np.zeros(n_images, dtype=np.bool_)
    for name, indices in images.items():
        shuffled = _class_stream(name, needs.seed).permutation(indices)
        mask[shuffled[: needs.test_size(len(indices))]] = True
    return mask


def _class_stream(name: str, seed: int) -> np.random.Generator:
    # By name, as labels shift when a class is added; not by hash(), which differs between runs.
    key = int.from_bytes(sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, SPLIT_STREAM, key])


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
