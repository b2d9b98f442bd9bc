"""The user's own images, one folder for each class."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from pml_incremental.datasets._class_folders import IMAGE_SUFFIXES, FoundFiles, find_class_folders
from pml_incremental.datasets._image_files import find_unreadable, read_rgb

logger = logging.getLogger(__name__)


class ImageFolder(Dataset[tuple[Any, int]]):
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
        on_bad_image: Literal["raise", "skip"] = "raise",
    ) -> None:
        if on_bad_image not in ("raise", "skip"):
            raise ValueError(f'on_bad_image must be "raise" or "skip", got {on_bad_image!r}')
        self.transform = transform
        found = find_class_folders(Path(root))
        _report_other_files(found)
        bad = find_unreadable([path for folder in found for path in folder.images])
        if bad and on_bad_image == "raise":
            raise ValueError(_unreadable_message(bad))
        if bad:
            found = _without(found, bad)
            logger.warning("images left out: %d\n%s", len(bad), "\n".join(bad.values()))
        self.skipped = list(bad)
        self.paths = [path for folder in found for path in folder.images]
        self.classes = sorted({folder.class_name for folder in found})
        sizes = [len(folder.images) for folder in found]
        label_of = {name: label for label, name in enumerate(self.classes)}
        labels = np.array([label_of[folder.class_name] for folder in found], dtype=np.int64)
        self.labels = np.repeat(labels, sizes)
        is_split = found[0].is_test is not None
        self.test_mask = np.repeat([f.is_test is True for f in found], sizes) if is_split else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = read_rgb(self.paths[index])
        return self.transform(image) if self.transform else image, int(self.labels[index])

    def image_name(self, index: int) -> str:
        """The file of an image."""
        return str(self.paths[index])


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


def _unreadable_message(bad: dict[Path, str]) -> str:
    shown = list(bad.values())[:10]
    more = [f"... and {len(bad) - len(shown)} more"] if len(bad) > len(shown) else []
    return "\n".join(
        [
            f"images that cannot be read: {len(bad)}; mend or remove them, or leave them out with "
            "on_bad_image: skip",
            *shown,
            *more,
        ]
    )


def _without(found: list[FoundFiles], bad: dict[Path, str]) -> list[FoundFiles]:
    """The class folders without the bad images; each class must keep at least one."""
    kept = [f._replace(images=[path for path in f.images if path not in bad]) for f in found]
    empty = {f.class_name for f in kept} - {f.class_name for f in kept if f.images}
    if empty:
        raise ValueError(
            f"no image of these classes can be read: {', '.join(sorted(empty))}; mend the images "
            "or remove the folders"
        )
    return kept
