"""What a strategy's components remember, as one flat set of tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pml_incremental.models import tensors_under
from pml_incremental.strategies import Component, Strategy


def pack_memory(strategy: Strategy) -> dict[str, Tensor]:
    """The memories of all components, as ``<position>.<name>``."""
    return {
        f"{index}.{key}": tensor
        for index, component in enumerate(strategy.components)
        for key, tensor in component.state_dict().items()
    }


def load_memory(strategy: Strategy, memory: Mapping[str, Tensor]) -> None:
    """Give all components back what :func:`pack_memory` took."""
    for component in strategy.components:
        load_component(strategy, component, memory)


def load_component(strategy: Strategy, component: Component, memory: Mapping[str, Tensor]) -> None:
    """Give one of the strategy's components its part of the memory."""
    index = strategy.components.index(component)
    component.load_state_dict(tensors_under(f"{index}.", memory))
