"""Oxford-IIIT Pet: breeds of cats and dogs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pml_incremental.datasets._listed_images import ListedImages
from pml_incremental.datasets._torchvision import build_parts


class OxfordIIITPet(ListedImages):
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

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        from torchvision import datasets

        splits = [{"split": split} for split in ("trainval", "test")]
        parts = build_parts(datasets.OxfordIIITPet, root, download, splits)
        super().__init__(
            [Path(path) for part in parts for path in part._images],
            [label for part in parts for label in part._labels],
            parts[0].classes,
            np.repeat([False, True], [len(part) for part in parts]),
            transform,
        )
