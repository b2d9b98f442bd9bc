"""Streams of tasks over a labelled dataset: which classes arrive when, what tests them."""

from pml_incremental.scenarios.class_incremental_scenario import ClassIncrementalScenario
from pml_incremental.scenarios.joined_subset import join_subsets, select_images
from pml_incremental.scenarios.task import Task
from pml_incremental.scenarios.task_subset import TaskSubset

__all__ = ["ClassIncrementalScenario", "Task", "TaskSubset", "join_subsets", "select_images"]
