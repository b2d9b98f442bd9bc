"""A strategy at a task: its files and its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import Tensor

from pml_incremental.distributed import Processes
from pml_incremental.models import tensors_under
from pml_incremental.scenarios import Task, TaskSubset, join_subsets
from pml_incremental.strategies import Component, Strategy
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


def pack_memory(strategy: Strategy) -> dict[str, Tensor]:
    """The memories of all components, as ``<position>.<name>``."""
    return {
        f"{index}.{key}": tensor
        for index, component in enumerate(strategy.components)
        for key, tensor in component.state_dict().items()
    }


def report_of_memory(strategy: Strategy) -> dict[str, Any]:
    """What the records say of the memories, of all components together.

    What a second component says under a name of the first is numbered: ``new_share_2``.
    """
    found: dict[str, Any] = {}
    for report in (component.report() for component in strategy.components):
        for key, value in report.items():
            names = (f"{key}_{number}" if number > 1 else key for number in count(1))
            found[next(name for name in names if name not in found)] = value
    return found


def load_memory(strategy: Strategy, memory: Mapping[str, Tensor]) -> None:
    """Give all components back what :func:`pack_memory` took."""
    for component in strategy.components:
        load_component(strategy, component, memory)


def share_memory(strategy: Strategy, processes: Processes) -> None:
    """Let the components of all processes remember what those of the first one do."""
    if processes.is_distributed:
        memory = processes.broadcast(_on_cpu(pack_memory(strategy)))
        if not processes.is_rank_zero:
            load_memory(strategy, memory)


def share_training_states(components: Sequence[Component], processes: Processes) -> None:
    """The same for what may change while a task is learned, once the components are prepared."""
    if processes.is_distributed:
        for component in components:
            state = processes.broadcast(_on_cpu(component.training_state()))
            if not processes.is_rank_zero:
                component.load_training_state(state)


def load_component(strategy: Strategy, component: Component, memory: Mapping[str, Tensor]) -> None:
    """Give one of the strategy's components its part of the memory."""
    index = strategy.components.index(component)
    component.load_state_dict(tensors_under(f"{index}.", memory))


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}
