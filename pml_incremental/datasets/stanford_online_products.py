"""Stanford Online Products."""

from __future__ import annotations

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

FOLDER = "Stanford_Online_Products"


class StanfordOnlineProducts(ListedImages):
    """Stanford Online Products: 120,053 photographs of 22,634 products of 12 kinds.

    Files are read by pytorch-metric-learning's class of the same name. The source splits the
    products, not the images of a product, so there is no ``test_mask`` and a scenario holds images
    out itself. A product has 2 to 12 images: leave out those with few by ``on_small_class: drop``.

    Source: Oh Song et al., CVPR 2016.

    Args:
        root: the folder that holds ``Stanford_Online_Products``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch the dataset (3 GB) if it is not there; its source gives no checksum.

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the name of each class, such as ``bicycle_final/111085122871``.
        class_groups: the labels of each kind of product, kinds in alphabetical order.
        test_mask: None.
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

        archive = Archive(
            datasets.StanfordOnlineProducts.DOWNLOAD_URL,
            f"{FOLDER}.zip",
            (f"{FOLDER}/Ebay_train.txt", f"{FOLDER}/Ebay_test.txt"),
        )
        find_archives(Path(root), [archive], "StanfordOnlineProducts", download)
        listed = datasets.StanfordOnlineProducts(str(root))
        paths = [Path(path) for path in listed.paths]
        # A file is called kind_final/product_number.JPG.
        products = [f"{path.parent.name}/{path.stem.rpartition('_')[0]}" for path in paths]
        classes, labels = number_classes(products)
        super().__init__(paths, labels, classes, None, transform)
        self.class_groups = labels_by_group([name.split("/")[0] for name in classes])
