"""Finding the image files under root/class or root/{train,test}/class."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pml_incremental.datasets.image_files import SUFFIXES

IMAGE_SUFFIXES = tuple(SUFFIXES)
SPLITS = ("train", "test")
LAYOUTS = "root/class/image or root/train/class/image and root/test/class/image"


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
    # A class may be called train: what makes a split is that both hold folders and no images.
    if [f.name for f in folders] == sorted(SPLITS) and not any(map(_holds_images, folders)):
        found = [
            (folder, _read_class(folder, split == "test"))
            for split in SPLITS
            for folder in _class_folders_in(root / split)
        ]
    else:
        found = [(folder, _read_class(folder, None)) for folder in folders]
    _refuse_empty([folder for folder, files in found if not files.images])
    return [files for _, files in found]


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
