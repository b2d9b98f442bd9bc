"""The user's own images, one folder for each class."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pml_incremental.datasets._listed_images import ListedImages, number_classes
from pml_incremental.datasets.class_folders import IMAGE_SUFFIXES, FoundFiles, find_class_folders
from pml_incremental.datasets.image_files import OnBadImage, find_bad_images

logger = logging.getLogger(__name__)


class ImageFolder(ListedImages):
    """Images in ``root/class/``, or in ``root/train/class/`` and ``root/test/class/``.

    Takes jpg, jpeg, png and webp files. Classes and images are in alphabetical order; hidden files
    and folders are ignored, other files are left out and reported in the log. Every image is
    decoded once at construction, so that a damaged file is found before training and not during
    it. Images are read as RGB and turned upright by their EXIF orientation.

    Args:
        root: the folder of class folders.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        on_bad_image: what to do about a file that cannot be read: ``"raise"`` an error, or
            ``"skip"`` it, which is reported in the log.

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the folder name of each class.
        test_mask: True for the images under ``root/test``, shape (N,); None without that layout.
        paths: the file of each image.
        skipped: the files left out because they cannot be read.

    Raises:
        ValueError: if root is not laid out as above, a class folder holds no image, a file cannot
            be read, or, with ``"skip"``, no image of a class can.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     Image.new("RGB", (8, 6)).save(root / name / "1.png")
        >>> folder = ImageFolder(root)
        >>> folder.classes, folder.labels.tolist(), folder[1][0].size
        (['cat', 'dog'], [0, 1], (8, 6))
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        on_bad_image: OnBadImage = "raise",
    ) -> None:
        found = find_class_folders(Path(root))
        _report_other_files(found)
        self.skipped = find_bad_images([p for f in found for p in f.images], on_bad_image)
        found = _without(found, set(self.skipped))
        sizes = [len(folder.images) for folder in found]
        classes, labels = number_classes([folder.class_name for folder in found])
        is_split = found[0].is_test is not None
        super().__init__(
            [path for folder in found for path in folder.images],
            np.repeat(labels, sizes),
            classes,
            np.repeat([f.is_test is True for f in found], sizes) if is_split else None,
            transform,
        )


def _report_other_files(found: list[FoundFiles]) -> None:
    others = [path for folder in found for path in folder.others]
    if others:
        kinds = ", ".join(IMAGE_SUFFIXES)
        logger.warning(
            "files left out because they are none of %s: %d, %s",
            kinds,
            len(others),
            ", ".join(map(str, others)),
        )


def _without(found: list[FoundFiles], bad: set[Path]) -> list[FoundFiles]:
    """The class folders without the bad images; each class must keep at least one."""
    kept = [f._replace(images=[path for path in f.images if path not in bad]) for f in found]
    empty = {f.class_name for f in kept} - {f.class_name for f in kept if f.images}
    if empty:
        raise ValueError(
            f"no image of these classes can be read: {', '.join(sorted(empty))}; mend the images "
            "or remove the folders"
        )
    return kept
