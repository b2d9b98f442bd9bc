"""Images and labels that lie as arrays in one npz file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pml_incremental.datasets._images_in_memory import ImagesInMemory
from pml_incremental.datasets._npz_arrays import (
    check_images,
    check_labels,
    read_arrays,
    read_names,
    select_test,
)

DEFAULT_CLASSES = "classes"


class NpzImages(ImagesInMemory):
    """Images from an npz file, held in memory.

    Args:
        path: the file, as ``numpy.savez`` writes it. Pickled objects in it are refused.
        transform: called with each PIL image (mode "L" or "RGB"); by default the image is returned
            as is.
        images: name of the image array, uint8, shape (N, H, W) or (N, H, W, 3).
        labels: name of the label array, integers, shape (N,).
        classes: name of the array of class names, strings, shape (C,), for labels 0 to C - 1. Only
            the default may be missing; the classes then have no names.
        test_values: the images whose value in the array ``test_key`` is one of these are the
            held-out test images; by default the file gives no split.
        test_key: name of the array that ``test_values`` refers to, shape (N,).

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the name of each class, or None.
        test_mask: True for the test images, shape (N,); None without ``test_values``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no npz file, an array is missing or of the wrong shape or type,
            or one of ``test_values`` does not occur.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> path = Path(tempfile.mkdtemp(), "images.npz")
        >>> x = np.zeros((4, 8, 8, 3), np.uint8)
        >>> np.savez(path, x=x, y=[0, 0, 1, 1], vendor=["a", "b", "a", "b"])
        >>> dataset = NpzImages(path, test_values=["b"])
        >>> dataset.labels.tolist(), dataset.test_mask.tolist()
        ([0, 0, 1, 1], [False, True, False, True])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        images: str = "x",
        labels: str = "y",
        classes: str = DEFAULT_CLASSES,
        test_values: Sequence[Any] | None = None,
        test_key: str = "vendor",
    ) -> None:
        self.path = Path(path)
        self.transform = transform
        needed = [images, labels] + ([test_key] if test_values is not None else [])
        optional = classes if classes == DEFAULT_CLASSES else None
        needed += [] if optional else [classes]
        arrays = read_arrays(self.path, needed, optional)
        self._images = check_images(images, arrays[images])
        self.labels = check_labels(labels, arrays[labels], len(self._images))
        self.classes = read_names(classes, arrays.get(classes), self.labels)
        self.test_mask = (
            None
            if test_values is None
            else select_test(test_key, arrays[test_key], test_values, len(self._images))
        )

    def image_name(self, index: int) -> str:
        """The position of an image in the file."""
        return f"image {index} of {self.path}"
