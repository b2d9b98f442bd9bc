"""Hooks for PML's trainers and testers, ours or its own."""

from pml_incremental.hooks.in_order import InOrder
from pml_incremental.hooks.mean_over_tasks import MEAN, MEAN_JOINT, MeanOverTasks
from pml_incremental.hooks.random_state import RandomState
from pml_incremental.hooks.recording import RecordAccuracies, RecordLosses
from pml_incremental.hooks.start_of_task import start_of_task
from pml_incremental.hooks.task_hooks import TaskHooks

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
