"""Classes with too few images to learn from or to test with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pml_incremental.scenarios._class_images import ClassImages
from pml_incremental.scenarios._class_names import ClassNames
from pml_incremental.scenarios._map_dataset import Label
from pml_incremental.scenarios.split import SplitNeeds


class ClassCounts(NamedTuple):
    """How many images of a class are for training and for testing."""

    train: int
    test: int


def find_small_classes(
    classes: Iterable[Label], images: ClassImages, needs: SplitNeeds
) -> dict[Label, ClassCounts]:
    """The classes with fewer training or test images than needed."""
    small = {}
    for label in classes:
        counts = ClassCounts(
            train=len(images.indices(label, False)), test=len(images.indices(label, True))
        )
        if counts.train < needs.min_train or counts.test < needs.min_test:
            small[label] = counts
    return small


def raise_small_classes(
    small: dict[Label, ClassCounts], names: ClassNames, needs: SplitNeeds
) -> None:
    """Raise if there is a class that is too small, naming all of them."""
    if small:
        listed = "".join(
            f"\n  {names.name(label)}: {counts.train} training, {counts.test} test"
            for label, counts in small.items()
        )
        raise ValueError(
            f"classes with fewer than {needs.min_train} training or {needs.min_test} test images: "
            f"{len(small)}; add images, or leave them out with on_small_class: drop{listed}"
        )


def without_classes(
    groups: list[list[Label]], small: dict[Label, ClassCounts], names: ClassNames
) -> list[list[Label]]:
    """The groups without the small classes; none may become empty."""
    kept = [[label for label in group if label not in small] for group in groups]
    for number, (group, rest) in enumerate(zip(groups, kept, strict=True), start=1):
        if not rest:
            raise ValueError(
                f"task {number} has no class left, for all of its classes are too small: "
                f"{', '.join(names.name(label) for label in group)}"
            )
    return kept
