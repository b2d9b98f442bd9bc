"""Whether every task can fill a batch."""

from __future__ import annotations

from collections.abc import Iterable

from pml_incremental.scenarios.task import Task


def check_batches(tasks: Iterable[Task], batch_size: int, per_class: int) -> None:
    """Raise unless each task has the classes and training images that a batch takes."""
    if per_class < 1 or batch_size < per_class or batch_size % per_class:
        raise ValueError(
            "batch_size must be a positive multiple of per_class, the images of each class in a "
            f"batch, got batch_size {batch_size} and per_class {per_class}"
        )
    n_classes = batch_size // per_class
    short = [
        f"\n  {task.name}: {len(task.classes)} classes, {len(task.train)} training images"
        for task in tasks
        if len(task.classes) < n_classes or len(task.train) < batch_size
    ]
    if short:
        raise ValueError(
            f"a batch of {batch_size} takes {n_classes} classes with {per_class} images each, "
            f"which these tasks do not have:{''.join(short)}\nmake the batch smaller, take more "
            "images per class, or give the tasks more classes"
        )
