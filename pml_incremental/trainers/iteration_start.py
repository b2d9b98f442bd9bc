"""The way back to where an iteration began."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pml_incremental.trainers.random_state import random_state, restore_random_state


class IterationStart:
    """What a forward pass changes, as it was before.

    These are the buffers of all modules, such as BatchNorm's statistics, which a NaN would spoil
    for good, what losses and miners keep in plain attributes, and the random streams.

    Args:
        models: in training.
        helpers: loss functions and miners.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> start = IterationStart([norm], [])
        >>> _ = norm(torch.full((4, 2), torch.nan))
        >>> start.restore_modules()
        >>> norm.running_mean.tolist()
        [0.0, 0.0]
    """

    def __init__(self, models: Iterable[nn.Module], helpers: Iterable[nn.Module]) -> None:
        helpers = [part for helper in helpers for part in helper.modules()]
        buffers = [buffer for model in models for buffer in model.buffers()]
        buffers += [buffer for helper in helpers for buffer in helper.buffers(recurse=False)]
        self._buffers = [(buffer, buffer.clone()) for buffer in buffers]
        self._attributes = [
            (vars(helper), name, _copy(value))
            for helper in helpers
            for name, value in vars(helper).items()
            if isinstance(value, (Tensor, int, float)) and not name.startswith("_")
        ]
        self._random = random_state()

    @torch.no_grad()
    def restore_modules(self) -> None:
        """Bring back the buffers and attributes."""
        for buffer, before in self._buffers:
            buffer.copy_(before)
        for attributes, name, before in self._attributes:
            attributes[name] = before

    def restore_random_state(self) -> None:
        """Bring back the random streams."""
        restore_random_state(self._random)


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value
