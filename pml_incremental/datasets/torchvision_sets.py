"""Datasets that torchvision downloads and reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pml_incremental.datasets._base import ImagesInMemory, Listed, PublishedImages


def build_parts(
    dataset: Callable[..., Any],
    root: str | os.PathLike[str],
    download: bool,
    parts: Sequence[dict[str, Any]],
) -> list[Any]:
    """One dataset of torchvision's for each part.

    Torchvision checks the published checksums before it unpacks anything.
    """
    try:
        return [dataset(str(root), download=download, **part) for part in parts]
    except RuntimeError as error:  # torchvision's for all that is missing or damaged
        name = getattr(dataset, "__name__", dataset)
        raise ValueError(
            f"{name} is incomplete under {root} ({error}): unpack the dataset there, or fetch it "
            "with --download on the command line or download=True"
        ) from error


class Flowers102(PublishedImages):
    """Oxford Flowers 102: 8,189 photographs of 102 kinds of flowers.

    Read by torchvision's class of the same name. Its training and validation images (10 and 10 of
    each kind) are the training images here; its test images (20 or more) are held out.

    Source: Nilsback & Zisserman, ICVGIP 2008.

    Args:
        root: the folder that holds ``flowers-102``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch the dataset (330 MB) if it is not there.

    Attributes:
        labels: the class of each image, 0 to 101, int64, shape (N,).
        classes: the name of each class, such as ``pink primrose``.
        test_mask: True for the held-out images, shape (N,).
        paths: the file of each image.

    Raises:
        ValueError: if the dataset is not whole, or a download is not what was published.
    """

    def _find(self, root: Path, download: bool) -> Listed:
        from torchvision.datasets import Flowers102

        splits = [{"split": split} for split in ("train", "val", "test")]
        parts = build_parts(Flowers102, root, download, splits)
        return Listed(
            [Path(path) for part in parts for path in part._image_files],
            [label for part in parts for label in part._labels],
            Flowers102.classes,
            np.repeat([False, False, True], [len(part) for part in parts]),
        )


class OxfordIIITPet(PublishedImages):
    """Oxford-IIIT Pet: 7,349 photographs of 37 breeds of cats and dogs.

    Read by torchvision's class of the same name; the split, by image within each class, is that of
    the source.

    Source: Parkhi et al., CVPR 2012.

    Args:
        root: the folder that holds ``oxford-iiit-pet``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch the dataset (800 MB) if it is not there.

    Attributes:
        labels: the class of each image, 0 to 36, int64, shape (N,).
        classes: the name of each class, such as ``Abyssinian``.
        test_mask: True for the images that the source holds out, shape (N,).
        paths: the file of each image.

    Raises:
        ValueError: if the dataset is not whole, or a download is not what was published.
    """

    def _find(self, root: Path, download: bool) -> Listed:
        from torchvision.datasets import OxfordIIITPet

        splits = [{"split": split} for split in ("trainval", "test")]
        parts = build_parts(OxfordIIITPet, root, download, splits)
        return Listed(
            [Path(path) for part in parts for path in part._images],
            [label for part in parts for label in part._labels],
            parts[0].classes,
            np.repeat([False, True], [len(part) for part in parts]),
        )


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
