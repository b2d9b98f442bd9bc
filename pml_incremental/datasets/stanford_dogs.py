"""Stanford Dogs: breeds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pml_incremental.datasets._base import ListedImages, number_classes
from pml_incremental.datasets._download import Archive, find_archives

SOURCE = "http://vision.stanford.edu/aditya86/ImageNetDogs"
ARCHIVES = (
    Archive(f"{SOURCE}/images.tar", "images.tar", ("Images",)),
    Archive(f"{SOURCE}/lists.tar", "lists.tar", ("train_list.mat", "test_list.mat")),
)


class StanfordDogs(ListedImages):
    """Stanford Dogs: 20,580 photographs of 120 breeds of dogs.

    The split, by image within each class, is that of the source: 100 training images of each breed.

    Source: Khosla et al., workshop on Fine-Grained Visual Categorization, CVPR 2011.

    Args:
        root: the folder that holds ``Images``, ``train_list.mat`` and ``test_list.mat``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch what is not there (0.8 GB); its source gives no checksum.

    Attributes:
        labels: the class of each image, 0 to 119, int64, shape (N,).
        classes: the name of each class, such as ``n02085620-Chihuahua``.
        test_mask: True for the images that the source holds out, shape (N,).
        paths: the file of each image.

    Raises:
        ValueError: if the dataset is not whole.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        root = Path(root)
        find_archives(root, ARCHIVES, "StanfordDogs", download)
        train, test = (_read_files(root / f"{side}_list.mat") for side in ("train", "test"))
        names = [Path(name) for name in (*train, *test)]
        classes, labels = number_classes([name.parent.name for name in names])
        super().__init__(
            [root / "Images" / name for name in names],
            labels,
            classes,
            np.repeat([False, True], [len(train), len(test)]),
            transform,
        )


def _read_files(file: Path) -> list[str]:
    """The files that a list names, such as ``n02085620-Chihuahua/n02085620_10074.jpg``."""
    from scipy.io import loadmat

    names: NDArray[Any] = loadmat(file)["file_list"]
    return [str(name.item()) for name in names.ravel()]
