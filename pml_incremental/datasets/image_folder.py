"""The user's own images, one folder for each class."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pml_incremental.datasets._base import ListedImages, number_classes
from pml_incremental.datasets.image_files import SUFFIXES, WHITE, OnBadImage, find_bad_images

IMAGE_SUFFIXES = tuple(SUFFIXES)
TRAIN = "train"
# What may lie beside it; the first that is there is held out.
HELD_OUT = ("test", "val", "valid", "validation")
LAYOUTS = "root/class/image or root/train/class/image and root/test/class/image (or root/val/...)"

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
        progress: whether to show a progress bar while many images are looked at.
        background: colour to draw transparent images on, such as ``"black"``.

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
        progress: bool = True,
        background: str = WHITE,
    ) -> None:
        found = find_class_folders(Path(root))
        _report_other_files(found)
        self.skipped = find_bad_images([p for f in found for p in f.images], on_bad_image, progress)
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
            background,
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
            f"no image of these classes can be read: {', '.join(sorted(empty))}; repair the images "
            "or remove the folders"
        )
    return kept


class FoundFiles(NamedTuple):
    """The files of one class in one split; ``is_test`` is None if the folder is not split."""

    class_name: str
    is_test: bool | None
    images: list[Path]
    others: list[Path]


def find_class_folders(root: Path) -> list[FoundFiles]:
    """The class folders under ``root`` and their files, in alphabetical order; none hidden."""
    if not root.is_dir():
        raise ValueError(f"root must be a folder of class folders, got {root}, which is none")
    folders = _class_folders_in(root)
    held_out = _held_out_side({folder.name for folder in folders})
    # A class may be called train: what makes a split is that both hold folders and no images.
    if held_out is not None and not any(map(_holds_images, folders)):
        unused = [f.name for f in folders if f.name not in (TRAIN, held_out)]
        if unused:
            logger.warning(
                "%s: %s is not used: training images are in %s, held-out images in %s",
                *(root, " and ".join(unused), TRAIN, held_out),
            )
        found = [
            (folder, _read_class(folder, side == held_out))
            for side in (TRAIN, held_out)
            for folder in _class_folders_in(root / side)
        ]
    else:
        found = [(folder, _read_class(folder, None)) for folder in folders]
    _refuse_empty([folder for folder, files in found if not files.images])
    return [files for _, files in found]


def _held_out_side(names: set[str]) -> str | None:
    """Which folder beside ``train`` has the held-out images; None if these are no sides."""
    others = names - {TRAIN}
    if TRAIN not in names or not others or not others <= set(HELD_OUT):
        return None
    return next(name for name in HELD_OUT if name in others)


def _refuse_empty(folders: list[Path]) -> None:
    if folders:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(
            f"class folders without an image ({kinds}): {', '.join(map(str, folders))}; add images "
            "or remove these folders"
        )


def _class_folders_in(parent: Path) -> list[Path]:
    visible = _visible(parent)
    stray = [path for path in visible if path.is_file() and _is_image(path)]
    if stray:
        raise ValueError(
            f"images outside of any class folder: {len(stray)}, such as {stray[0]}; move each into "
            f"the folder of its class ({LAYOUTS})"
        )
    folders = [path for path in visible if path.is_dir()]
    if not folders:
        raise ValueError(f"{parent} has no class folders: expected {LAYOUTS}")
    return folders


def _read_class(folder: Path, is_test: bool | None) -> FoundFiles:
    visible = _visible(folder)
    nested = [path for path in visible if path.is_dir()]
    if nested:
        raise ValueError(
            f"the class folder {folder} holds another folder, {nested[0].name}: expected {LAYOUTS}"
        )
    images = [path for path in visible if _is_image(path)]
    return FoundFiles(folder.name, is_test, images, [p for p in visible if not _is_image(p)])


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _holds_images(folder: Path) -> bool:
    return any(path.is_file() and _is_image(path) for path in folder.iterdir())
