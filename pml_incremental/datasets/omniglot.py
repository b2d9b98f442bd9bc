"""Omniglot: handwritten characters."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pml_incremental.datasets._listed_images import (
    ListedImages,
    labels_by_group,
    number_classes,
)
from pml_incremental.datasets._torchvision import build_parts


class Omniglot(ListedImages):
    """Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people.

    Fetched and checked by torchvision's class of the same name. Both of its sides, which share no
    alphabet, are taken, and an alphabet is a natural task. The source holds out no images of a
    character, so there is no ``test_mask`` and a scenario holds images out itself.

    Source: Lake et al., Science 350, 2015.

    Args:
        root: the folder that holds ``omniglot-py``, with its zip files still there.
        transform: called with each PIL image (mode "L", black on white); by default the image is
            returned as is.
        download: fetch the dataset (16 MB) if it is not there.

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the name of each class, such as ``Greek/character01``.
        class_groups: the labels of each alphabet, alphabets in alphabetical order.
        test_mask: None.
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

        sides = [{"background": True}, {"background": False}]
        folders = [
            Path(part.target_folder)
            for part in build_parts(datasets.Omniglot, root, download, sides)
        ]
        # Torchvision lists files in the order of the file system, which is not always the same.
        paths = sorted(path for folder in folders for path in folder.glob("*/*/*.png"))
        characters = [f"{path.parent.parent.name}/{path.parent.name}" for path in paths]
        classes, labels = number_classes(characters)
        super().__init__(paths, labels, classes, None, transform)
        self.class_groups = labels_by_group([name.split("/")[0] for name in classes])

    def read(self, path: Path) -> Image.Image:
        """The image of a file in grey."""
        return super().read(path).convert("L")
