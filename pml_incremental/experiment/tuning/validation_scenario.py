"""The first tasks, tested on training images that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pml_incremental.scenarios import ClassIncrementalScenario, Task, join_subsets


class TrainingImages:
    """The training images of some tasks as a dataset of its own; nothing else can be reached."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._images = join_subsets([task.train.with_transform(None) for task in tasks])
        self.labels = self._images.labels
        self.classes = [name for task in tasks for name in task.class_names]
        self.class_groups = [list(task.labels) for task in tasks]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._images[index]


def validation_scenario(
    scenario: ClassIncrementalScenario, validation_fraction: float, seed: int
) -> ClassIncrementalScenario:
    """The first two tasks, each class's training images split into training and validation.

    Classes with fewer than four training images are left out, as both sides need two.
    """
    if len(scenario) < 2:
        raise ValueError("tuning needs two tasks, the scenario has one: it brings no new classes")
    first, second = scenario[0], scenario[1]
    return ClassIncrementalScenario(
        TrainingImages([first, second]),
        class_groups="natural",
        seed=seed,
        test_fraction=validation_fraction,
        on_small_class="drop",
        train_transform=first.train.transform,
        test_transform=first.test.transform,
    )
