"""CIFAR-100."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from pml_incremental.datasets._images_in_memory import ImagesInMemory
from pml_incremental.datasets._torchvision import build_parts


class CIFAR100(ImagesInMemory):
    """CIFAR-100: 60,000 images of 100 classes, 32 x 32 pixels, held in memory.

    Read by torchvision's class of the same name; its test images, 100 of each class, are held out.

    Source: Krizhevsky, technical report, University of Toronto, 2009.

    Args:
        root: the folder that holds ``cifar-100-python``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch the dataset (160 MB) if it is not there.

    Attributes:
        labels: the class of each image, 0 to 99, int64, shape (N,).
        classes: the name of each class, such as ``apple``.
        test_mask: True for the held-out images, shape (N,).

    Raises:
        ValueError: if the dataset is not whole, or a download is not what was published.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        from torchvision import datasets

        sides = [{"train": True}, {"train": False}]
        train, test = build_parts(datasets.CIFAR100, root, download, sides)
        self.transform = transform
        self._images = np.concatenate([train.data, test.data])
        self.labels = np.array([*train.targets, *test.targets], dtype=np.int64)
        self.classes: list[str] = train.classes
        self.test_mask = np.repeat([False, True], [len(train), len(test)])

    def image_name(self, index: int) -> str:
        """The position of an image in the dataset."""
        return f"image {index} of CIFAR-100"
