"""Image files and their labels listed in a CSV file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from pml_incremental.datasets._base import ListedImages, number_classes
from pml_incremental.datasets.image_files import WHITE, OnBadImage, find_bad_images

COLUMNS = ("path", "label")
SPLIT = "split"
SIDES = ("train", "test")


class CsvImages(ListedImages):
    """Images listed in a CSV file with the columns ``path`` and ``label``, and perhaps ``split``.

    The first line names the columns, in any order; others are ignored. Labels are taken as text,
    and classes are in alphabetical order. Every image is decoded once at construction, so that a
    damaged file is found before training and not during it.

    Args:
        path: the CSV file, UTF-8, with commas.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        root: the folder that relative paths in the file start from; by default that of the file.
        on_bad_image: what to do about an image that cannot be read: ``"raise"`` an error, or
            ``"skip"`` it, which is reported in the log.
        progress: whether to show a progress bar while many images are looked at.
        background: colour to draw transparent images on, such as ``"black"``.

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the label of each class as it stands in the file.
        test_mask: True for the images whose ``split`` is ``test``, shape (N,); None without that
            column, each entry of which must be ``train`` or ``test``.
        paths: the file of each image.
        skipped: the files left out because they cannot be read.

    Raises:
        FileNotFoundError: if there is no such CSV file.
        ValueError: if a column is missing, an entry is empty or no known split, an image is listed
            twice or missing, or, with ``"raise"``, cannot be read.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (8, 6)).save(root / "1.png")
        >>> Image.new("RGB", (8, 6)).save(root / "2.png")
        >>> _ = (root / "images.csv").write_text("path,label\\n1.png,wren\\n2.png,jay\\n")
        >>> images = CsvImages(root / "images.csv")
        >>> images.classes, images.labels.tolist(), images.test_mask
        (['jay', 'wren'], [1, 0], None)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        root: str | os.PathLike[str] | None = None,
        on_bad_image: OnBadImage = "raise",
        progress: bool = True,
        background: str = WHITE,
    ) -> None:
        file = Path(path)
        rows = _read_rows(file)
        folder = file.parent if root is None else Path(root)
        _check_rows(file, rows)
        listed = [_place(folder, row["path"]) for row in rows]
        self.skipped = find_bad_images(listed, on_bad_image, progress)
        bad = set(self.skipped)
        kept = [row for row, image in zip(rows, listed, strict=True) if image not in bad]
        classes, labels = number_classes([row["label"] for row in kept])
        has_split = SPLIT in rows[0]
        super().__init__(
            [image for image in listed if image not in bad],
            labels,
            classes,
            np.array([row[SPLIT] == "test" for row in kept]) if has_split else None,
            transform,
            background,
        )


def _place(folder: Path, text: str) -> Path:
    """The file that an entry means, also where it was written on Windows."""
    path = folder / text
    if "\\" in text and not path.exists():
        return folder / PureWindowsPath(text).as_posix()
    return path


def _read_rows(file: Path) -> list[dict[str, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}; save it as UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", skipinitialspace=True)
    try:
        named, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: {error}; correct it") from error
    missing = [name for name in COLUMNS if name not in named]
    if missing:
        raise ValueError(
            f"{file} has no column {' and no column '.join(missing)}: its first line must name "
            f"the columns path, label and, if you like, split; it is {','.join(named)!r}"
        )
    if not rows:
        raise ValueError(f"{file} lists no image: add a line for each below the first")
    return rows


def _check_rows(file: Path, rows: list[dict[str, str]]) -> None:
    """Raise at the first row that says nothing, or what an earlier one said."""
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{file}, image {number}"
        for name in COLUMNS:
            if not row[name]:
                raise ValueError(f"{where}: the column {name} is empty")
        if row["path"] in seen:
            raise ValueError(
                f"{where}: {row['path']} is listed before, as image {seen[row['path']]}"
            )
        seen[row["path"]] = number
        if SPLIT in row and row[SPLIT] not in SIDES:
            raise ValueError(f"{where}: split must be train or test, got {row[SPLIT]!r}")
