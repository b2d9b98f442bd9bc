"""A strategy at a task: its files and its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pml_incremental.scenarios import Task, TaskSubset, join_subsets
from pml_incremental.strategies import Strategy
from pml_incremental.trainers import Teacher


@dataclass(frozen=True)
class Stage:
    """A strategy's model after a task; file names are relative to the run's folder."""

    label: str  # the strategy's name in tables and folders
    strategy: Strategy  # what the task is learned with
    task: Task  # the task learned last

    @property
    def is_shared(self) -> bool:
        """Whether it is common to all strategies, as the first one may be."""
        return self.task.number == 1 and self.strategy.shares_first_task

    @property
    def who(self) -> str:
        """Whose it is, for people."""
        return "all strategies" if self.is_shared else self.label

    @property
    def folder(self) -> str:
        """Where the model is."""
        return self.task.name if self.is_shared else self._own_folder

    @property
    def weights_file(self) -> str:
        """The model's weights."""
        return f"{self.folder}/model.safetensors"

    @property
    def evaluation_file(self) -> str:
        """What the model can do; written after it, so the model of a stage that has it is whole."""
        return f"{self.folder}/evaluation.json"

    @property
    def checkpoint_file(self) -> str:
        """The state of training until all other files are written."""
        return f"{self.folder}/checkpoint.safetensors"

    @property
    def memory_file(self) -> str:
        """What the strategy remembers after the task."""
        return f"{self._own_folder}/memory.safetensors"

    @property
    def report_file(self) -> str:
        """What the records say of that memory."""
        return f"{self._own_folder}/memory.json"

    @property
    def _own_folder(self) -> str:
        return f"{self.label}/{self.task.name}"


def training_images(strategy: Strategy, seen: Sequence[Task]) -> TaskSubset | None:
    """What a strategy learns the last of the seen tasks from."""
    *earlier, task = seen
    wanted = strategy.images_of(task.number)
    if wanted == "none":
        return None
    if wanted == "seen":
        return join_subsets([task.train for task in seen])
    kept = [part for component in strategy.components for part in component.exemplars(earlier)]
    return join_subsets([task.train, *kept])


@dataclass(frozen=True)
class Priors:
    """The last model and the one before it; None where there is none."""

    teacher: Teacher | None = None
    previous: Teacher | None = None
