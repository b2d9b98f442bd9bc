"""Keeping equal what every process has."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import distributed, nn

from pml_incremental.distributed.processes import Processes


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], processes: Processes) -> None:
    """Let gradients that all processes have computed alike be the same to the bit."""
    if not processes.several:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes.size


@torch.no_grad()
def copy_from_first(modules: Iterable[nn.Module], processes: Processes) -> None:
    """Give all processes the first's weights and buffers, in place."""
    if not processes.several:
        return
    for module in modules:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, src=0)
