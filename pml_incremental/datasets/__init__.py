"""Labelled image datasets: drawn characters, the user's own images, published ones."""

from pml_incremental.datasets.csv_images import CsvImages
from pml_incremental.datasets.glyphs import Glyphs
from pml_incremental.datasets.image_folder import ImageFolder
from pml_incremental.datasets.npz_images import NpzImages
from pml_incremental.datasets.omniglot import Omniglot
from pml_incremental.datasets.published import (
    CUB,
    Cars196,
    INaturalist2018,
    StanfordDogs,
    StanfordOnlineProducts,
)
from pml_incremental.datasets.torchvision_sets import CIFAR100, Flowers102, OxfordIIITPet

__all__ = [
    "CIFAR100",
    "CUB",
    "Cars196",
    "CsvImages",
    "Flowers102",
    "Glyphs",
    "INaturalist2018",
    "ImageFolder",
    "NpzImages",
    "Omniglot",
    "OxfordIIITPet",
    "StanfordDogs",
    "StanfordOnlineProducts",
]
