"""What follows the training of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pml_incremental.experiment.task_checkpoint import TaskCheckpoint


@dataclass(frozen=True)
class TrainingWatch:
    """How a training is saved, shown and recorded.

    Attributes:
        checkpoint: saves it, and is gone on with if there is one.
        description: text before the progress bar.
        progress: whether to show the bar.
        record: called with the trainer after each iteration.
    """

    checkpoint: TaskCheckpoint
    description: str
    progress: bool
    record: Callable[[Any], None] | None = None
