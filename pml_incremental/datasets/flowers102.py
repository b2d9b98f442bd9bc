"""Oxford Flowers 102."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pml_incremental.datasets._listed_images import ListedImages
from pml_incremental.datasets._torchvision import build_parts


class Flowers102(ListedImages):
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

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        from torchvision import datasets

        splits = [{"split": split} for split in ("train", "val", "test")]
        parts = build_parts(datasets.Flowers102, root, download, splits)
        super().__init__(
            [Path(path) for part in parts for path in part._image_files],
            [label for part in parts for label in part._labels],
            datasets.Flowers102.classes,
            np.repeat([False, False, True], [len(part) for part in parts]),
            transform,
        )
