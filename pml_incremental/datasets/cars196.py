"""Cars196: makes and models of cars."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pml_incremental.datasets._base import ListedImages
from pml_incremental.datasets._download import Archive, find_archives

IMAGES = Path("car_data", "car_data")


class Cars196(ListedImages):
    """Cars196 (Stanford Cars): 16,185 photographs of 196 makes and models of cars.

    Files and labels are read by pytorch-metric-learning's class of the same name, in the layout of
    the copy that it downloads; the split, by image within each class, is that of the source.

    Source: Krause et al., 3D Representation and Recognition workshop, 2013.

    Args:
        root: the folder that holds ``car_data``, ``anno_train.csv``, ``anno_test.csv`` and
            ``names.csv``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch the dataset (2 GB) if it is not there; its source gives no checksum.

    Attributes:
        labels: the class of each image, 0 to 195, int64, shape (N,).
        classes: the name of each class, such as ``AM General Hummer SUV 2000``.
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
        from pytorch_metric_learning import datasets

        root = Path(root)
        archive = Archive(
            datasets.Cars196.DOWNLOAD_URL,
            "cars196.zip",
            (str(IMAGES), "anno_train.csv", "anno_test.csv", "names.csv"),
        )
        find_archives(root, [archive], "Cars196", download)
        listed = datasets.Cars196(str(root))
        paths = [Path(path) for path in listed.paths]
        super().__init__(
            paths,
            [label - 1 for label in listed.labels],
            _read_lines(root / "names.csv"),
            [path.relative_to(root / IMAGES).parts[0] == "test" for path in paths],
            transform,
        )


def _read_lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
