"""Images and labels that lie as arrays in one npz file."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pml_incremental.datasets._base import ImagesInMemory
from pml_incremental.wording import counted

# What NumPy and zipfile raise on damaged files; MemoryError for sizes that no file has.
UNREADABLE = (
    *(ValueError, BadZipFile, EOFError, MemoryError, NotImplementedError, zlib.error),
    *(TokenError, SyntaxError, struct.error, OverflowError, RuntimeError),
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
        self._images = check_images(f"{self.path}: the images {images!r}", arrays[images])
        n_images = len(self._images)
        self.labels = check_labels(f"{self.path}: the labels {labels!r}", arrays[labels], n_images)
        names = arrays.get(classes)
        self.classes = read_names(f"{self.path}: the class names {classes!r}", names, self.labels)
        self.test_mask = None
        if test_values is not None:
            array = f"{self.path}: the array {test_key!r}"
            self.test_mask = select_test(array, arrays[test_key], test_values, n_images)

    def image_name(self, index: int) -> str:
        """The position of an image in the file."""
        return f"image {index} of {self.path}"


def read_arrays(path: Path, needed: Sequence[str], optional: str | None) -> dict[str, NDArray[Any]]:
    """The named arrays of a file; the optional one only if it is there."""
    try:
        file = np.load(path, allow_pickle=False)
    except UNREADABLE as error:
        raise ValueError(f"{path} is not a complete npz file: {error}") from error
    if isinstance(file, np.ndarray):
        raise ValueError(
            f"{path} holds a single array: write it with numpy.savez(path, x=..., y=...)"
        )
    with file:
        for name in needed:
            if name not in file.files:
                raise ValueError(f"{path} has no array {name!r}, only {', '.join(file.files)}")
        wanted = [name for name in file.files if name in needed or name == optional]
        return {name: _read_array(path, file, name) for name in wanted}


def check_images(what: str, images: NDArray[Any]) -> NDArray[np.uint8]:
    """Raise unless these are grey or RGB images."""
    if images.dtype != np.uint8:
        raise ValueError(f"{what} must be uint8, got {images.dtype}")
    is_grey, is_rgb = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
    if not (is_grey or is_rgb) or images.size == 0:
        raise ValueError(
            f"{what} must have shape (N, H, W) or (N, H, W, 3) and not be empty, got {images.shape}"
        )
    return images


def check_labels(what: str, labels: NDArray[Any], n_images: int) -> NDArray[np.int64]:
    """Raise unless there is one integer for each image."""
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{what} must be integers, got {labels.dtype}")
    _check_one_per_image(what, labels, n_images)
    return labels.astype(np.int64)


def read_names(
    what: str, names: NDArray[Any] | None, labels: NDArray[np.int64]
) -> list[str] | None:
    """The class names; raise unless there is one for every label."""
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(
            f"{what} must be strings of shape (C,), got {names.dtype} of shape {names.shape}"
        )
    if labels.min() < 0 or labels.max() >= len(names):
        raise ValueError(
            f"{what} are those of {counted(len(names), 'class')}, from 0 to {len(names) - 1}, but "
            f"the labels go from {labels.min()} to {labels.max()}"
        )
    listed: list[str] = names.tolist()
    return listed


def select_test(
    what: str, values: NDArray[Any], test_values: Sequence[Any], n_images: int
) -> NDArray[np.bool_]:
    """True where ``values`` is one of ``test_values``, each of which must occur."""
    if isinstance(test_values, str):
        raise TypeError(f"test_values must be a list of values, got the string {test_values!r}")
    _check_one_per_image(what, values, n_images)
    occurring = np.unique(values).tolist()
    absent = [value for value in test_values if value not in occurring]
    if absent or not len(test_values):
        raise ValueError(
            f"{what} holds {', '.join(map(repr, occurring))}: test_values must name some of them, "
            f"got {', '.join(map(repr, absent)) or 'none'}"
        )
    mask = np.isin(values, list(test_values))
    if mask.all():
        raise ValueError(f"test_values covers all of {what}: no image is left to train on")
    return mask


def _read_array(path: Path, file: Any, name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = file[name]
    except (*UNREADABLE, OSError) as error:
        raise ValueError(f"{path}: the array {name!r} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray):  # but bytes, which NumPy gives where none begins
        raise ValueError(f"{path}: {name!r} is no array")
    return array


def _check_one_per_image(what: str, values: NDArray[Any], n_images: int) -> None:
    if values.shape != (n_images,):
        raise ValueError(f"{what} must have shape ({n_images},), one per image, got {values.shape}")
