"""What a model finds in several folders, each by itself and all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pml_incremental.config import ObjectSpec
from pml_incremental.datasets import ImageFolder
from pml_incremental.datasets.image_files import OnBadImage
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.metrics.recall_at_1 import RECALL_AT_1
from pml_incremental.metrics.without_nan import without_nan
from pml_incremental.scenarios import Task, TaskSubset

_OF_OTHER_SEARCHES = ("metrics", "ks", "index", "nprobe")


@dataclass(frozen=True)
class Figures:
    """Recall@1 of a model, as a share; NaN where no query has another image of its class.

    Attributes:
        own: of each folder's images in that folder.
        together: of each folder's images in all folders.
    """

    own: dict[str, float]
    together: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, NaN as None."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


class MeasuredFolders:
    """Folders of images to measure with, their classes known by name.

    Args:
        folders: by what to call each.
        on_bad_image: ``"raise"`` an error about images that cannot be read, or ``"skip"`` them.

    Raises:
        ValueError: if a folder is not laid out as ``ImageFolder`` takes it, or an image cannot be
            read.
    """

    def __init__(self, folders: Mapping[str, Path], on_bad_image: OnBadImage = "raise") -> None:
        self.folders = {
            name: ImageFolder(root, on_bad_image=on_bad_image) for name, root in folders.items()
        }

    def splits(self, new: Task, name_of_new: str) -> dict[str, TaskSubset]:
        """The folders' images and a task's held-out ones, with one label per class name.

        Args:
            new: the task; its transform holds for all.
            name_of_new: what to call it.
        """
        known = [folder.classes for folder in self.folders.values()]
        names = sorted({*new.class_names, *(name for classes in known for name in classes)})
        number = {name: place for place, name in enumerate(names)}
        splits = {
            name: _subset(folder, number, new.test.transform)
            for name, folder in self.folders.items()
        }
        labels = [number[new.class_names[label - new.labels.start]] for label in new.test.labels]
        splits[name_of_new] = TaskSubset(
            new.test.dataset,
            new.test.indices,
            np.array(labels, dtype=np.int64),
            new.test.original_labels,
            new.test.transform,
        )
        return splits


def measure(
    run: FinishedRun, models: Mapping[str, nn.Module], splits: Mapping[str, TaskSubset]
) -> Figures:
    """What a model finds, with the run's tester.

    Args:
        run: names the tester.
        models: ``trunk`` and ``embedder``.
        splits: the images, by name.
    """
    spec = run.config.tester
    kwargs = {key: value for key, value in spec.kwargs.items() if key not in _OF_OTHER_SEARCHES}
    tester = ObjectSpec(
        class_name=spec.class_name, kwargs={**kwargs, "metrics": [RECALL_AT_1], "ks": [1]}
    ).build("tester", data_device=run.device, dataloader_num_workers=0)
    found = tester.evaluate(splits, models["trunk"], models["embedder"])
    return Figures(dict(found.own[RECALL_AT_1]), dict(found.joint[RECALL_AT_1]))


def name_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders by what to call them: their path as it was given.

    Raises:
        ValueError: if one is given twice.
    """
    named = {str(folder): folder for folder in folders}
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("a folder to test with is given twice: leave one out")
    return named


def _subset(folder: ImageFolder, number: Mapping[str, int], transform: Any) -> TaskSubset:
    """A folder's images or, if it is split, those under ``test``."""
    is_test = np.ones(len(folder), bool) if folder.test_mask is None else folder.test_mask
    chosen = np.flatnonzero(is_test)
    original = np.asarray(folder.labels)[chosen]
    labels = np.array([number[folder.classes[label]] for label in original], dtype=np.int64)
    return TaskSubset(folder, chosen, labels, original, transform)
