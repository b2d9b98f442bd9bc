"""Streams of tasks over a labelled dataset: which classes arrive when, what tests them."""

from pml_incremental.scenarios.class_incremental_scenario import ClassIncrementalScenario
from pml_incremental.scenarios.task_subset import Task, TaskSubset, join_subsets, select_images

__all__ = ["ClassIncrementalScenario", "Task", "TaskSubset", "join_subsets", "select_images"]
