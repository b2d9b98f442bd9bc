"""The tensors of a regulariser as one flat dictionary, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

State: TypeAlias = dict[str, dict[str, Tensor]]
Families: TypeAlias = Iterable[tuple[str, ...]]


def to_flat(state: State) -> dict[str, Tensor]:
    """Copies of all tensors, named ``group/parameter``."""
    return {
        f"{group}/{name}": tensor.detach().clone()
        for group, tensors in state.items()
        for name, tensor in tensors.items()
    }


def from_flat(owner: str, families: Families, flat: Mapping[str, Tensor]) -> State:
    """Copies of all tensors by group, or an error if they are not what ``owner`` saves."""
    state: State = {group: {} for family in families for group in family}
    for key, tensor in flat.items():
        group, _, name = key.partition("/")
        if group not in state or not name:
            expected = " or ".join(f"{group}/" for group in state)
            raise ValueError(
                f"{owner} cannot load {key!r}: its names begin with {expected}; was it saved by "
                "another regulariser?"
            )
        state[group][name] = tensor.detach().clone()
    for family in families:
        _check_family(owner, family, state)
    return state


def _check_family(owner: str, family: tuple[str, ...], state: State) -> None:
    for name in sorted({name for group in family for name in state[group]}):
        missing = [f"{group}/{name}" for group in family if name not in state[group]]
        if missing:
            raise ValueError(
                f"{owner} cannot load its state: {', '.join(missing)} is missing beside the other "
                "tensors of that parameter"
            )
        shapes = {state[group][name].shape for group in family} - {torch.Size()}
        if len(shapes) > 1:
            raise ValueError(
                f"{owner} cannot load its state: {' and '.join(family)} of {name!r} differ in "
                f"shape: {' and '.join(str(tuple(shape)) for shape in sorted(shapes))}"
            )
