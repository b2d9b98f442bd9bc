"""One task of a stream: a group of new classes and their images."""

from __future__ import annotations

from dataclasses import dataclass

from pml_incremental.scenarios._map_dataset import Label
from pml_incremental.scenarios.task_subset import TaskSubset


@dataclass(frozen=True)
class Task:
    """New classes that arrive together, with training images and held-out test images.

    Args:
        number: place in the stream, from 1.
        classes: the classes as the dataset labels them.
        class_names: their names, in the same order.
        labels: their new labels, in the same order.
        train: the training images.
        test: the held-out test images, of the same classes.
    """

    number: int
    classes: tuple[Label, ...]
    class_names: tuple[str, ...]
    labels: range
    train: TaskSubset
    test: TaskSubset

    @property
    def name(self) -> str:
        """A short name that is fit for file names and records, such as ``task_1``."""
        return f"task_{self.number}"
