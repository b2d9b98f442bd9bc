"""CUB-200-2011: birds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pml_incremental.datasets._base import ListedImages
from pml_incremental.datasets._download import Archive, find_archives

FOLDER = "CUB_200_2011"
MD5 = "97eceeb196236b17998738112f37df78"
LISTS = ("images", "image_class_labels", "train_test_split", "classes")


class CUB(ListedImages):
    """CUB-200-2011: 11,788 photographs of 200 species of birds.

    Files and labels are read by pytorch-metric-learning's class of the same name; the split, by
    image within each class, and the names are those of the source.

    Source: Wah et al., Caltech technical report CNS-TR-2011-001, 2011.

    Args:
        root: the folder that holds ``CUB_200_2011``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch the dataset (1.1 GB) if it is not there.

    Attributes:
        labels: the class of each image, 0 to 199, int64, shape (N,).
        classes: the name of each class, such as ``001.Black_footed_Albatross``.
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
        from pytorch_metric_learning import datasets

        base = Path(root) / FOLDER
        archive = Archive(
            datasets.CUB.DOWNLOAD_URL,
            f"{FOLDER}.tgz",
            (f"{FOLDER}/images", *(f"{FOLDER}/{name}.txt" for name in LISTS)),
            MD5,
        )
        find_archives(Path(root), [archive], "CUB", download)
        listed = datasets.CUB(str(root))
        is_training = _read_pairs(base / "train_test_split.txt")
        by_path = {name: is_training[key] for key, name in _read_pairs(base / "images.txt").items()}
        paths = [Path(path) for path in listed.paths]
        super().__init__(
            paths,
            [label - 1 for label in listed.labels],
            list(_read_pairs(base / "classes.txt").values()),
            [by_path[path.relative_to(base / "images").as_posix()] == "0" for path in paths],
            transform,
        )


def _read_pairs(file: Path) -> dict[str, str]:
    """The lines of one of the dataset's lists: a number and what it stands for."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line.strip())
