"""The images of a folder, with the class that their own folder names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from pml_incremental.datasets.image_files import WHITE, OnBadImage, find_bad_images, read_rgb
from pml_incremental.datasets.image_folder import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from pml_incremental.testers import IncrementalTester


@dataclass(frozen=True)
class ImageFiles:
    """Some image files, or what stands for them where there are vectors alone."""

    root: Path | None  # the folder that they are in; None if there are no images
    ids: tuple[str, ...]  # their paths below it, with slashes, or other names
    labels: tuple[str, ...]  # their classes; empty where one is not known
    quarter_turns: int = 0  # by which pictures are turned

    @classmethod
    def under(
        cls, root: Path, on_bad_image: OnBadImage = "raise", progress: bool = False
    ) -> ImageFiles:
        """All images in a folder and the folders below it, in alphabetical order; or one file.

        All are decoded once, so that a damaged one is found before any is embedded.
        """
        if root.is_file():
            find_bad_images([root], "raise", progress)
            return cls(root.parent, (root.name,), ("",))
        if not root.is_dir():
            raise ValueError(f"{root} is not a folder: give a folder of images")
        paths = [
            path
            for path in sorted(root.rglob("*"))
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        ]
        if not paths:
            raise ValueError(f"{root} has no images ({', '.join(IMAGE_SUFFIXES)})")
        bad = set(find_bad_images(paths, on_bad_image, progress))
        found = [path.relative_to(root) for path in paths if path not in bad]
        if not found:
            raise ValueError(f"no image in {root} can be read: repair them")
        ids = tuple(path.as_posix() for path in found)
        # An image right in the folder is of no class.
        return cls(root, ids, tuple(path.parent.name for path in found))

    def missing(self) -> list[str]:
        """The ids whose files are no longer there."""
        if self.root is None:
            return list(self.ids)
        return [name for name in self.ids if not (self.root / name).is_file()]

    def path(self, index: int) -> Path:
        """The file of an image, which may be gone."""
        return Path(self.ids[index]) if self.root is None else self.root / self.ids[index]

    def picture(self, index: int, background: str = WHITE) -> Image:
        """One image, as RGB."""
        picture = read_rgb(self.path(index), background)
        return picture.rotate(90 * self.quarter_turns, expand=True)


class ImagesToEmbed(Dataset[tuple[Any, int]]):
    """Image files as a model takes them; the labels say nothing."""

    def __init__(
        self, files: ImageFiles, prepare: Callable[[Image], Any], background: str = WHITE
    ) -> None:
        self.files, self.prepare, self.background = files, prepare, background

    def __len__(self) -> int:
        return len(self.files.ids)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.prepare(self.files.picture(index, self.background)), 0

    def image_name(self, index: int) -> str:
        """The file of an image."""
        return str(self.files.path(index))


def embed_files(
    files: ImageFiles,
    prepare: Callable[[Image], Any],
    tester: IncrementalTester,
    models: Mapping[str, nn.Module],
    progress: bool = False,
    background: str = WHITE,
) -> Tensor:
    """Embeddings of images, shape (N, d), float32, on the CPU."""
    tester.progress = progress
    splits = {"images": ImagesToEmbed(files, prepare, background)}
    found = tester.get_all_embeddings_for_all_splits(
        splits, models["trunk"], models["embedder"], ["images"], None
    )
    return found["images"][0].cpu().float()


def numbered(labels: Sequence[str], *others: Sequence[str]) -> list[list[int]]:
    """Class names as numbers, the same name the same number in all lists."""
    names = sorted({name for group in (labels, *others) for name in group})
    number = {name: place for place, name in enumerate(names)}
    return [[number[name] for name in group] for group in (labels, *others)]
