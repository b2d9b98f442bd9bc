"""Image files with a label each, as lists."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from pml_incremental.datasets.image_files import WHITE, checked_color, read_rgb


class ListedImages(Dataset[tuple[Any, int]]):
    """What datasets of image files have in common once their files are listed."""

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int] | NDArray[np.int64],
        classes: Sequence[str],
        test_mask: Sequence[bool] | NDArray[np.bool_] | None,
        transform: Callable[[Any], Any] | None,
        background: str = WHITE,
    ) -> None:
        _check_files(type(self).__name__, paths)
        self.background = checked_color(background)
        self.paths = list(paths)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.classes = list(classes)
        self.test_mask = None if test_mask is None else np.asarray(test_mask, dtype=np.bool_)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.read(self.paths[index])
        return self.transform(image) if self.transform else image, int(self.labels[index])

    def image_name(self, index: int) -> str:
        """The file of an image."""
        return str(self.paths[index])

    def read(self, path: Path) -> Image.Image:
        """The image of a file, before any transform."""
        return read_rgb(path, self.background)


class Listed(NamedTuple):
    """The files of a dataset and what is known of each."""

    paths: Sequence[Path]
    labels: Sequence[int] | NDArray[np.int64]
    classes: Sequence[str]
    test_mask: Sequence[bool] | NDArray[np.bool_] | None


class PublishedImages(ListedImages):
    """Image files that are found under a root, or fetched."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(*self._find(Path(root), download), transform)

    @abstractmethod
    def _find(self, root: Path, download: bool) -> Listed:
        """The files under root, fetched if need be."""


def number_classes(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The classes in alphabetical order, and each image's label among them, from 0."""
    classes, labels = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    return classes.tolist(), labels.astype(np.int64)


def labels_by_group(classes: Sequence[str]) -> list[list[int]]:
    """The labels of each group of classes called ``group/class``, groups in alphabetical order."""
    groups = [name.split("/")[0] for name in classes]
    return [
        [label for label, group in enumerate(groups) if group == name]
        for name in sorted(set(groups))
    ]


def _check_files(dataset: str, paths: Sequence[Path]) -> None:
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise ValueError(
            f"{dataset}: {len(missing)} of {len(paths)} images listed are missing, such as "
            f"{missing[0]}: unpack the whole dataset"
        )
    if not paths:
        raise ValueError(f"{dataset} lists no image: unpack the whole dataset")


def check_at_least(name: str, value: int, minimum: int) -> None:
    """Raise unless the argument is an integer and not too small."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")


class ImagesInMemory(Dataset[tuple[Any, int]]):
    """What datasets have in common once their images are in memory."""

    _images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    transform: Callable[[Any], Any] | None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self._images[index])
        return self.transform(image) if self.transform else image, int(self.labels[index])
