"""Which images a task is learned from."""

from __future__ import annotations

from collections.abc import Sequence

from pml_incremental.scenarios import Task, TaskSubset, join_subsets
from pml_incremental.strategies import Strategy


def training_images(strategy: Strategy, seen: Sequence[Task]) -> TaskSubset | None:
    """What a strategy learns the last of the seen tasks from.

    Args:
        strategy: says which images it takes and which it kept.
        seen: the tasks so far; the last one is about to be learned.

    Returns:
        The training images, or None if it does not train.
    """
    *earlier, task = seen
    wanted = strategy.images_of(task.number)
    if wanted == "none":
        return None
    if wanted == "seen":
        return join_subsets([task.train for task in seen])
    kept = [part for component in strategy.components for part in component.exemplars(earlier)]
    return join_subsets([task.train, *kept])
