"""Published datasets, listed by PML's classes or by the source's own files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pml_incremental.datasets._base import (
    Listed,
    PublishedImages,
    labels_by_group,
    number_classes,
)
from pml_incremental.datasets._download import Archive, find_archives

CUB_MD5 = "97eceeb196236b17998738112f37df78"
INATURALIST_MD5 = {
    "train_val2018": "b1c6952ce38f31868cc50ea72d066cc3",
    "train2018.json": "bfa29d89d629cbf04d826a720c0a68b0",
    "val2018.json": "f2ed8bfe3e9901cdefceb4e53cd3775d",
}
DOGS = "http://vision.stanford.edu/aditya86/ImageNetDogs"
DOGS_ARCHIVES = (
    Archive(f"{DOGS}/images.tar", "images.tar", ("Images",)),
    Archive(f"{DOGS}/lists.tar", "lists.tar", ("train_list.mat", "test_list.mat")),
)


class CUB(PublishedImages):
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

    def _find(self, root: Path, download: bool) -> Listed:
        from pytorch_metric_learning import datasets

        base = root / "CUB_200_2011"
        lists = ("images", "image_class_labels", "train_test_split", "classes")
        archive = Archive(
            datasets.CUB.DOWNLOAD_URL,
            f"{base.name}.tgz",
            (f"{base.name}/images", *(f"{base.name}/{name}.txt" for name in lists)),
            CUB_MD5,
        )
        find_archives(root, [archive], "CUB", download)
        listed = datasets.CUB(str(root))
        is_training = _read_pairs(base / "train_test_split.txt")
        by_path = {name: is_training[key] for key, name in _read_pairs(base / "images.txt").items()}
        paths = [Path(path) for path in listed.paths]
        return Listed(
            paths,
            [label - 1 for label in listed.labels],
            list(_read_pairs(base / "classes.txt").values()),
            [by_path[path.relative_to(base / "images").as_posix()] == "0" for path in paths],
        )


def _read_pairs(file: Path) -> dict[str, str]:
    """The lines of one of CUB's lists: a number and what it stands for."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line.strip())


class Cars196(PublishedImages):
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

    def _find(self, root: Path, download: bool) -> Listed:
        from pytorch_metric_learning import datasets

        images = Path("car_data", "car_data")
        archive = Archive(
            datasets.Cars196.DOWNLOAD_URL,
            "cars196.zip",
            (str(images), "anno_train.csv", "anno_test.csv", "names.csv"),
        )
        find_archives(root, [archive], "Cars196", download)
        listed = datasets.Cars196(str(root))
        paths = [Path(path) for path in listed.paths]
        names = (root / "names.csv").read_text(encoding="utf-8").splitlines()
        return Listed(
            paths,
            [label - 1 for label in listed.labels],
            [name.strip() for name in names],
            [path.relative_to(root / images).parts[0] == "test" for path in paths],
        )


class StanfordOnlineProducts(PublishedImages):
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

    def _find(self, root: Path, download: bool) -> Listed:
        from pytorch_metric_learning import datasets

        folder = "Stanford_Online_Products"
        archive = Archive(
            datasets.StanfordOnlineProducts.DOWNLOAD_URL,
            f"{folder}.zip",
            (f"{folder}/Ebay_train.txt", f"{folder}/Ebay_test.txt"),
        )
        find_archives(root, [archive], "StanfordOnlineProducts", download)
        paths = [Path(path) for path in datasets.StanfordOnlineProducts(str(root)).paths]
        # A file is called kind_final/product_number.JPG.
        products = [f"{path.parent.name}/{path.stem.rpartition('_')[0]}" for path in paths]
        classes, labels = number_classes(products)
        self.class_groups = labels_by_group(classes)
        return Listed(paths, labels, classes, None)


class INaturalist2018(PublishedImages):
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

    def _find(self, root: Path, download: bool) -> Listed:
        from pytorch_metric_learning import datasets

        source = datasets.INaturalist2018
        urls = (source.IMG_DOWNLOAD_URL, source.TRAIN_ANN_URL, source.VAL_ANN_URL)
        archives = [
            Archive(url, f"{name}.tar.gz", (name,), md5)
            for url, (name, md5) in zip(urls, INATURALIST_MD5.items(), strict=True)
        ]
        splits = "Inat_dataset_splits"
        archives.append(Archive(source.SPLITS_URL, f"{splits}.zip", (splits,)))
        find_archives(root, archives, "INaturalist2018", download)
        names = [Path(path).relative_to(root) for path in source(str(root)).paths]
        classes, labels = number_classes([f"{n.parts[1]}/{n.parts[2]}" for n in names])
        self.class_groups = labels_by_group(classes)
        validation = json.loads((root / "val2018.json").read_text(encoding="utf-8"))
        held_out = {image["file_name"] for image in validation["images"]}
        is_test = [name.as_posix() in held_out for name in names]
        return Listed([root / name for name in names], labels, classes, is_test)


class StanfordDogs(PublishedImages):
    """Stanford Dogs: 20,580 photographs of 120 breeds of dogs.

    The split, by image within each class, is that of the source: 100 training images of each breed.

    Source: Khosla et al., workshop on Fine-Grained Visual Categorization, CVPR 2011.

    Args:
        root: the folder that holds ``Images``, ``train_list.mat`` and ``test_list.mat``.
        transform: called with each PIL image (mode "RGB"); by default the image is returned as is.
        download: fetch what is not there (0.8 GB); its source gives no checksum.

    Attributes:
        labels: the class of each image, 0 to 119, int64, shape (N,).
        classes: the name of each class, such as ``n02085620-Chihuahua``.
        test_mask: True for the images that the source holds out, shape (N,).
        paths: the file of each image.

    Raises:
        ValueError: if the dataset is not whole.
    """

    def _find(self, root: Path, download: bool) -> Listed:
        from scipy.io import loadmat

        find_archives(root, DOGS_ARCHIVES, "StanfordDogs", download)
        # Entries such as ``n02085620-Chihuahua/n02085620_10074.jpg``.
        train, test = (
            [str(name.item()) for name in loadmat(root / f"{side}_list.mat")["file_list"].ravel()]
            for side in ("train", "test")
        )
        paths = [root / "Images" / name for name in (*train, *test)]
        classes, labels = number_classes([path.parent.name for path in paths])
        return Listed(paths, labels, classes, np.repeat([False, True], [len(train), len(test)]))
