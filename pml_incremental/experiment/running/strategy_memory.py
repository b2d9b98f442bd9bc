"""What a strategy's components remember, as one flat set of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pml_incremental.distributed import Processes
from pml_incremental.models import tensors_under
from pml_incremental.strategies import Component, Strategy


def pack_memory(strategy: Strategy) -> dict[str, Tensor]:
    """The memories of all components, as ``<position>.<name>``."""
    return {
        f"{index}.{key}": tensor
        for index, component in enumerate(strategy.components)
        for key, tensor in component.state_dict().items()
    }


def report_of_memory(strategy: Strategy) -> dict[str, Any]:
    """What the records say of the memories, of all components together."""
    reports = [component.report() for component in strategy.components]
    return {key: value for report in reports for key, value in report.items()}


def load_memory(strategy: Strategy, memory: Mapping[str, Tensor]) -> None:
    """Give all components back what :func:`pack_memory` took."""
    for component in strategy.components:
        load_component(strategy, component, memory)


def share_memory(strategy: Strategy, processes: Processes) -> None:
    """Let the components of all processes remember what those of the first one do."""
    if processes.several:
        memory = processes.broadcast(_on_cpu(pack_memory(strategy)))
        if not processes.is_first:
            load_memory(strategy, memory)


def share_training_states(components: Sequence[Component], processes: Processes) -> None:
    """The same for what may change while a task is learned, once the components are prepared."""
    if processes.several:
        for component in components:
            state = processes.broadcast(_on_cpu(component.training_state()))
            if not processes.is_first:
                component.load_training_state(state)


def load_component(strategy: Strategy, component: Component, memory: Mapping[str, Tensor]) -> None:
    """Give one of the strategy's components its part of the memory."""
    index = strategy.components.index(component)
    component.load_state_dict(tensors_under(f"{index}.", memory))


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}
