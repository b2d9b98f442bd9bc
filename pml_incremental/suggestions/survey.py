"""What is in a folder of images."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pml_incremental.datasets.image_files import OnBadImage, look_at_images, refuse_bad_images
from pml_incremental.datasets.image_folder import IMAGE_SUFFIXES, find_class_folders
from pml_incremental.scenarios.split import SplitNeeds
from pml_incremental.wording import counted, some_of

#: How images are held out: a fifth of each class, and no class without two on either side.
HELD_OUT = SplitNeeds(test_fraction=0.2, min_train=2, min_test=2, seed=0)


class ClassCount(NamedTuple):
    """How many images of a class there are to learn from, and held out."""

    train: int
    test: int

    @property
    def is_enough(self) -> bool:
        """Whether the class can be learned and tested; otherwise it is left out."""
        return self.train >= HELD_OUT.min_train and self.test >= HELD_OUT.min_test


@dataclass(frozen=True)
class Survey:
    """The classes of a folder, in alphabetical order, and the sizes of its images."""

    root: Path  # the folder
    counts: dict[str, ClassCount]  # of each class, by its name
    has_split: bool  # whether the folder says itself which images are held out
    short_sides: tuple[int, ...] = ()  # of all images in pixels; empty if they were not looked at
    on_bad_image: OnBadImage = "raise"  # what is to be done about images that cannot be read
    others: tuple[Path, ...] = ()  # files that are no images, as far as their names say

    @property
    def usable(self) -> list[str]:
        """The classes that can be learned and tested."""
        return [name for name, count in self.counts.items() if count.is_enough]

    @property
    def left_out(self) -> list[str]:
        """The others."""
        return [name for name, count in self.counts.items() if not count.is_enough]

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(map(sum, self.counts.values()))

    @property
    def short_side(self) -> int:
        """Median of the short sides, in pixels."""
        return int(statistics.median(self.short_sides))

    def describe(self) -> list[str]:
        """What was found, in lines for people."""
        sizes = [sum(count) for count in self.counts.values()]
        fewest, most = min(sizes), max(sizes)
        middle = f"{fewest} to {most} each (median {statistics.median(sizes):g})"
        each = f"{most} each" if fewest == most else middle
        lines = [f"{counted(self.images, 'image')} of {counted(len(sizes), 'class')}, {each}"]
        if self.short_sides:
            lines[0] += f"; short side {self.short_side} pixels (median)"
        if self.left_out:
            lines.append(f"classes left out: {len(self.left_out)}, {some_of(self.left_out)}")
            lines.append(f"  (a class needs {_NEEDS[self.has_split]})")
        if self.others:
            names = some_of([str(path.relative_to(self.root)) for path in self.others])
            lines.append(f"files left out: {len(self.others)}, {names}")
            lines.append(f"  (images are files ending in {', '.join(IMAGE_SUFFIXES)})")
        return lines


_NEEDS = {
    False: f"{HELD_OUT.min_train + HELD_OUT.min_test} images: {HELD_OUT.min_train} to learn from, "
    f"{HELD_OUT.min_test} to test with",
    True: f"{HELD_OUT.min_train} images under train and {HELD_OUT.min_test} under test",
}


def survey_folder(
    root: Path, on_bad_image: OnBadImage = "raise", look: bool = True, progress: bool = True
) -> Survey:
    """Look through a folder of class folders."""
    found = find_class_folders(root)
    sizes: dict[Path, tuple[int, int]] = {}
    bad: dict[Path, str] = {}
    if look:
        paths = [path for folder in found for path in folder.images]
        sizes, bad = look_at_images(paths, progress)
        refuse_bad_images(bad, on_bad_image)
    train: dict[str, int] = defaultdict(int)
    test: dict[str, int] = defaultdict(int)
    for folder in found:
        images = sum(path not in bad for path in folder.images)
        (test if folder.is_test else train)[folder.class_name] += images
    has_split = found[0].is_test is not None
    names = sorted({folder.class_name for folder in found})
    counts = {
        name: ClassCount(train[name], test[name]) if has_split else _split(train[name])
        for name in names
    }
    short_sides = tuple(min(size) for size in sizes.values())
    others = tuple(path for folder in found for path in folder.others)
    return Survey(root, counts, has_split, short_sides, on_bad_image, others)


def _split(images: int) -> ClassCount:
    held_out = HELD_OUT.test_size(images)
    return ClassCount(images - held_out, held_out)
