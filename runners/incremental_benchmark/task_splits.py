"""Which images each task trains, validates and tests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pml_incremental.scenarios import (
    ClassIncrementalScenario,
    Task,
    TaskSubset,
    join_subsets,
    select_images,
)

#: In ``splits_to_eval``: the held-out images of each task learned so far, a split for each.
SEEN_TASKS = "seen_tasks"


@dataclass(frozen=True)
class TaskSplits:
    """The images of one stage of a stream.

    Args:
        task: the new classes.
        train: what the task is learned from.
        val: training images of the same classes, held out to choose the best epoch by.
        held_out: the test images of each task learned so far, by the task's name.
    """

    task: Task
    train: TaskSubset
    val: TaskSubset
    held_out: dict[str, TaskSubset]

    def indices(self) -> dict[str, NDArray[np.int64]]:
        """Where the images of each split are in the dataset.

        Returns:
            By name of the split: ``train``, ``val``, ``test`` (all test images of the classes
            learned so far), ``task_1``, ``task_2``, ...
        """
        tasks = {name: subset.indices for name, subset in self.held_out.items()}
        test = np.concatenate(list(tasks.values()))
        return {"train": self.train.indices, "val": self.val.indices, "test": test, **tasks}

    def expand(self, wanted: Iterable[str]) -> list[str]:
        """The names of the splits to evaluate, ``seen_tasks`` written out.

        Args:
            wanted: names of splits; tasks that are still to come are left out.

        Raises:
            ValueError: if there is never a split of that name.
        """
        known = self.indices()
        names: list[str] = []
        for name in wanted:
            if name == SEEN_TASKS:
                names += self.held_out
            elif name in known:
                names.append(name)
            elif not is_task(name):
                raise ValueError(
                    f"splits_to_eval names {name!r}: there are train, val, test, {SEEN_TASKS}, "
                    "task_1, task_2, ..."
                )
        return list(dict.fromkeys(names))


def split_tasks(
    scenario: ClassIncrementalScenario, val_fraction: float, seed: int
) -> list[TaskSplits]:
    """The images of each stage of a stream.

    Args:
        scenario: the tasks, with their training and test images.
        val_fraction: share of each class's training images to hold out, between 0 and 1.
        seed: of the random choice.

    Raises:
        ValueError: if a class has too few training images, naming it.
    """
    images = join_subsets([task.train for task in scenario])
    inner = ClassIncrementalScenario(
        images,
        class_groups=[list(task.labels) for task in scenario],
        seed=seed,
        test_fraction=val_fraction,
    )
    return [
        TaskSplits(
            task,
            select_images(images, part.train.indices),
            select_images(images, part.test.indices),
            {seen.name: seen.test for seen in scenario.seen(task.number)},
        )
        for task, part in zip(scenario, inner, strict=True)
    ]


def is_task(split: str) -> bool:
    """Whether a split holds the test images of one task."""
    return split.startswith("task_")


def joint_gallery(query: str, splits: Iterable[str]) -> list[str]:
    """The splits that a split's queries are searched in together: a task's in those of all tasks.

    Example:
        >>> joint_gallery("task_2", ["val", "task_1", "task_2"])
        ['task_2', 'task_1']
        >>> joint_gallery("val", ["val", "task_1"])
        ['val']
    """
    others = [split for split in splits if split != query and is_task(split)]
    return [query, *others] if is_task(query) else [query]
