"""Hooks for PML's trainers and testers, ours or its own."""

import pml_incremental.needs_pml_2  # noqa: F401
from pml_incremental.hooks.mean_over_tasks import MEAN, MEAN_JOINT, InOrder, MeanOverTasks
from pml_incremental.hooks.task_hooks import (
    RandomState,
    RecordAccuracies,
    RecordLosses,
    TaskHooks,
    start_of_task,
)

__all__ = [
    "MEAN",
    "MEAN_JOINT",
    "InOrder",
    "MeanOverTasks",
    "RandomState",
    "RecordAccuracies",
    "RecordLosses",
    "TaskHooks",
    "start_of_task",
]
