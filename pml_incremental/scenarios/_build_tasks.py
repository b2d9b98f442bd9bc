"""Tasks from groups of classes, with labels in order of arrival."""

from __future__ import annotations

from typing import Any

import numpy as np

from pml_incremental.scenarios._class_images import ClassImages
from pml_incremental.scenarios._map_dataset import Label, MapDataset
from pml_incremental.scenarios.task import Task
from pml_incremental.scenarios.task_subset import TaskSubset


def build_tasks(
    dataset: MapDataset,
    images: ClassImages,
    groups: list[list[Label]],
    train_transform: Any,
    test_transform: Any,
) -> list[Task]:
    """One task for each group of classes."""
    tasks: list[Task] = []
    for number, group in enumerate(groups, start=1):
        first = tasks[-1].labels.stop if tasks else 0
        tasks.append(
            Task(
                number=number,
                classes=tuple(group),
                class_names=tuple(map(images.names.name, group)),
                labels=range(first, first + len(group)),
                train=_subset(dataset, images, group, first, False, train_transform),
                test=_subset(dataset, images, group, first, True, test_transform),
            )
        )
    return tasks


def _subset(
    dataset: MapDataset,
    images: ClassImages,
    group: list[Label],
    first_label: int,
    is_test: bool,
    transform: Any,
) -> TaskSubset:
    parts = [images.indices(label, is_test) for label in group]
    indices = np.concatenate(parts)
    new_labels = np.arange(first_label, first_label + len(group), dtype=np.int64)
    return TaskSubset(
        dataset=dataset,
        indices=indices,
        labels=np.repeat(new_labels, [len(part) for part in parts]),
        original_labels=images.labels[indices],
        transform=transform,
    )
