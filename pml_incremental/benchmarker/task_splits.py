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
    select_images,
)

#: In ``splits_to_eval``: the held-out images of each task learned so far, a split for each.
SEEN_TASKS = "seen_tasks"
#: Images of a class that training and retrieval need.
LEAST = 2


@dataclass(frozen=True)
class TaskSplits:
    """The images of one stage of a stream."""

    task: Task  # the new classes
    train: TaskSubset  # what the task is learned from
    val: TaskSubset  # training images of the same classes, to choose the best epoch by
    held_out: dict[str, TaskSubset]  # test images of each task learned so far, by its name

    def indices(self) -> dict[str, NDArray[np.int64]]:
        """Where the images of each split are in the dataset; ``test`` has all of those seen."""
        tasks = {name: subset.indices for name, subset in self.held_out.items()}
        test = np.concatenate(list(tasks.values()))
        return {"train": self.train.indices, "val": self.val.indices, "test": test, **tasks}

    def expand(self, wanted: Iterable[str]) -> list[str]:
        """The splits to evaluate: ``seen_tasks`` written out, tasks to come left out."""
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
    """The images of each stage of a stream, with a share of each class's to validate on.

    A class keeps all that it has if not at least two were left on either side.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
    stages = []
    for task in scenario:
        is_val = _choose_val(task, val_fraction, seed)
        if not is_val.any():
            raise ValueError(
                f"no class of {task.name} has the 4 training images needed to hold out 2 "
                "for validation"
            )
        train, val = (select_images(task.train, np.flatnonzero(m)) for m in (~is_val, is_val))
        held_out = {seen.name: seen.test for seen in scenario.seen(task.number)}
        stages.append(TaskSplits(task, train, val, held_out))
    return stages


def _choose_val(task: Task, fraction: float, seed: int) -> NDArray[np.bool_]:
    """True for the training images to validate on, shape (n,)."""
    is_val = np.zeros(len(task.train), dtype=np.bool_)
    for label in task.labels:
        images = np.flatnonzero(task.train.labels == label)
        wanted = max(LEAST, round(fraction * len(images)))
        if len(images) - wanted >= LEAST:
            generator = np.random.default_rng([seed, label])
            is_val[generator.choice(images, wanted, replace=False)] = True
    return is_val


def is_task(split: str) -> bool:
    """Whether a split holds the test images of one task."""
    return split.startswith("task_")


def joint_gallery(query: str, splits: Iterable[str]) -> list[str]:
    """The splits that a split's queries are searched in together: a task's in all the tasks'.

    The query's split comes first, as PML needs it to leave out the query.
    """
    others = [split for split in splits if split != query and is_task(split)]
    return [query, *others] if is_task(query) else [query]
