"""iNaturalist 2018: species."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pml_incremental.datasets._base import (
    ListedImages,
    labels_by_group,
    number_classes,
)
from pml_incremental.datasets._download import Archive, find_archives

IMAGES = "train_val2018"
SPLITS = "Inat_dataset_splits"
MD5 = {
    IMAGES: "b1c6952ce38f31868cc50ea72d066cc3",
    "train2018.json": "bfa29d89d629cbf04d826a720c0a68b0",
    "val2018.json": "f2ed8bfe3e9901cdefceb4e53cd3775d",
}


class INaturalist2018(ListedImages):
    """iNaturalist 2018: 461,939 photographs of 8,142 species in 14 kinds.

    Files are read by pytorch-metric-learning's class of the same name, which needs the split by
    species of Smooth-AP beside the source's annotations; both its sides are taken. Held out are the
    images of the source's validation set, 3 of each species.

    Source: Van Horn et al., CVPR 2018.

    Args:
        root: the folder that holds ``train_val2018``, ``train2018.json``, ``val2018.json`` and
            ``Inat_dataset_splits``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch what is not there (120 GB, and as much again while it is unpacked).

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the name of each class, such as ``Aves/2761``.
        class_groups: the labels of each kind, kinds in alphabetical order.
        test_mask: True for the images of the validation set, shape (N,).
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

        root = Path(root)
        find_archives(root, _archives(datasets.INaturalist2018), "INaturalist2018", download)
        listed = datasets.INaturalist2018(str(root))
        names = [Path(path).relative_to(root) for path in listed.paths]
        classes, labels = number_classes([f"{n.parts[1]}/{n.parts[2]}" for n in names])
        validation = json.loads((root / "val2018.json").read_text(encoding="utf-8"))
        held_out = {image["file_name"] for image in validation["images"]}
        super().__init__(
            [root / name for name in names],
            labels,
            classes,
            [name.as_posix() in held_out for name in names],
            transform,
        )
        self.class_groups = labels_by_group([name.split("/")[0] for name in classes])


def _archives(source: Any) -> list[Archive]:
    urls = (source.IMG_DOWNLOAD_URL, source.TRAIN_ANN_URL, source.VAL_ANN_URL)
    published = [
        Archive(url, f"{name}.tar.gz", (name,), md5)
        for url, (name, md5) in zip(urls, MD5.items(), strict=True)
    ]
    return [*published, Archive(source.SPLITS_URL, f"{SPLITS}.zip", (SPLITS,))]
